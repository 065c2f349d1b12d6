// Scalar unpacking of the i-quants with codebooks: an index picks a run of 8 or 4 magnitudes, a
// mask gives their signs (spec: block formats, section 5).
#include <cstring>

#include "kernels/cpu/codebooks.h"
#include "kernels/cpu/f16.h"
#include "kernels/cpu/reference_blocks.h"

namespace quern::kernels::cpu::reference {
namespace {

// Two 16-bit words as one of 32, the first one low.
uint32_t join(uint16_t first, uint16_t second) {
  return first | static_cast<uint32_t>(second) << 16;
}

// Codes of one run of 8: magnitudes with signs.
void set_run(int8_t* codes, const std::array<int8_t, 8>& magnitudes, uint8_t signs) {
  for (size_t j = 0; j < 8; ++j) {
    codes[j] = static_cast<int8_t>(signs >> j & 1 ? -magnitudes[j] : magnitudes[j]);
  }
}

// The same from two codebook runs of 4.
void set_run(int8_t* codes, const std::array<int8_t, 4>& first, const std::array<int8_t, 4>& second,
             uint8_t signs) {
  std::array<int8_t, 8> magnitudes;
  std::memcpy(magnitudes.data(), first.data(), 4);
  std::memcpy(magnitudes.data() + 4, second.data(), 4);
  set_run(codes, magnitudes, signs);
}

// The scale of 16-value group b of IQ2_XS and IQ2_S.
float iq2_scale(uint16_t d, const uint8_t (&scales)[8], size_t b) {
  const int s = scales[b / 2] >> 4 * (b % 2) & 15;
  return f16_to_f32(d) * (static_cast<float>(s) + 0.5f) * 0.25f;
}

// Codes of one run of 8 of IQ1_*: the values ±1/8 away from -1, 0, 1, times 8.
void set_run_shifted(int8_t* codes, const std::array<int8_t, 8>& values, bool down) {
  for (size_t j = 0; j < 8; ++j) codes[j] = static_cast<int8_t>(8 * values[j] + (down ? -1 : 1));
}

}  // namespace

void unpack(const gguf::BlockIQ2_XXS& block, UnpackedBlock& out) {
  const float d = f16_to_f32(block.d);
  for (size_t g = 0; g < 8; ++g) {
    const uint32_t indices = join(block.qs[4 * g], block.qs[4 * g + 1]);
    const uint32_t fields = join(block.qs[4 * g + 2], block.qs[4 * g + 3]);
    for (size_t l = 0; l < 4; ++l) {
      set_run(out.codes + 32 * g + 8 * l, kIq2XxsCodebook[indices >> 8 * l & 255],
              sign_mask(fields >> 7 * l & 127));
    }
    set_scale(out, 2 * g, 2, d * (static_cast<float>(fields >> 28) + 0.5f) * 0.25f);
  }
}

void unpack(const gguf::BlockIQ2_XS& block, UnpackedBlock& out) {
  for (size_t r = 0; r < 32; ++r) {
    const uint32_t field = block.qs[r];
    set_run(out.codes + 8 * r, kIq2XsCodebook[field & 511], sign_mask(field >> 9));
  }
  for (size_t b = 0; b < 16; ++b) set_scale(out, b, 1, iq2_scale(block.d, block.scales, b));
}

void unpack(const gguf::BlockIQ2_S& block, UnpackedBlock& out) {
  for (size_t r = 0; r < 32; ++r) {
    const uint32_t high_bits = block.qh[r / 4] >> 2 * (r % 4) & 3;
    set_run(out.codes + 8 * r, kIq2SCodebook[block.qs[r] | high_bits << 8], block.signs[r]);
  }
  for (size_t b = 0; b < 16; ++b) set_scale(out, b, 1, iq2_scale(block.d, block.scales, b));
}

void unpack(const gguf::BlockIQ3_XXS& block, UnpackedBlock& out) {
  const float d = f16_to_f32(block.d);
  for (size_t g = 0; g < 8; ++g) {
    const uint32_t fields = join(block.signs_scales[2 * g], block.signs_scales[2 * g + 1]);
    for (size_t l = 0; l < 4; ++l) {
      const size_t r = 4 * g + l;
      set_run(out.codes + 8 * r, kIq3XxsCodebook[block.qs[2 * r]],
              kIq3XxsCodebook[block.qs[2 * r + 1]], sign_mask(fields >> 7 * l & 127));
    }
    set_scale(out, 2 * g, 2, d * (static_cast<float>(fields >> 28) + 0.5f) * 0.5f);
  }
}

void unpack(const gguf::BlockIQ3_S& block, UnpackedBlock& out) {
  const auto run = [&](size_t f) -> const std::array<int8_t, 4>& {
    const uint32_t high_bit = block.qh[f / 8] >> f % 8 & 1;
    return kIq3SCodebook[block.qs[f] | high_bit << 8];
  };
  const float d = f16_to_f32(block.d);
  for (size_t r = 0; r < 32; ++r) {
    set_run(out.codes + 8 * r, run(2 * r), run(2 * r + 1), block.signs[r]);
  }
  for (size_t g = 0; g < 8; ++g) {
    const int s = block.scales[g / 2] >> 4 * (g % 2) & 15;
    set_scale(out, 2 * g, 2, d * static_cast<float>(2 * s + 1));
  }
}

void unpack(const gguf::BlockIQ1_S& block, UnpackedBlock& out) {
  const float d = f16_to_f32(block.d);
  for (size_t g = 0; g < 8; ++g) {
    const uint32_t fields = block.qh[g];
    for (size_t l = 0; l < 4; ++l) {
      const size_t r = 4 * g + l;
      const uint32_t index = block.qs[r] | (fields >> 3 * l & 7) << 8;
      set_run_shifted(out.codes + 8 * r, kIq1Codebook[index], fields >> 15);
    }
    const int s = fields >> 12 & 7;
    set_scale(out, 2 * g, 2, d * static_cast<float>(2 * s + 1) * 0.125f);
  }
}

void unpack(const gguf::BlockIQ1_M& block, UnpackedBlock& out) {
  const auto word = [&](size_t i) -> uint32_t { return block.scales[i]; };
  // The upper nibbles of the four words together are the f16 scale.
  const float d = f16_to_f32(static_cast<uint16_t>(word(0) >> 12 | word(1) >> 12 << 4 |
                                                   word(2) >> 12 << 8 | word(3) >> 12 << 12));
  for (size_t r = 0; r < 32; ++r) {
    const uint32_t fields = block.qh[r / 2] >> 4 * (r % 2) & 15;
    set_run_shifted(out.codes + 8 * r, kIq1Codebook[block.qs[r] | (fields & 7) << 8], fields >> 3);
  }
  for (size_t b = 0; b < 16; ++b) {
    const int s = static_cast<int>(word(b / 4) >> 3 * (b % 4) & 7);
    set_scale(out, b, 1, d * static_cast<float>(2 * s + 1) * 0.125f);
  }
}

}  // namespace quern::kernels::cpu::reference

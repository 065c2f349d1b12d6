// Encoders of the i-quants with codebooks: what codebook_search.h finds, in each format's bytes
// (spec: block formats, section 5).
#include "kernels/quantize/codebook_search.h"
#include "kernels/quantize/encoders.h"

namespace quern::kernels::quantize {
namespace {

uint16_t low_half(uint32_t word) { return static_cast<uint16_t>(word); }
uint16_t high_half(uint32_t word) { return static_cast<uint16_t>(word >> 16); }

// Four 7-bit sign fields and a 4-bit scale.
uint32_t signs_and_scale(const CodebookChoice& choice, size_t g) {
  uint32_t word = static_cast<uint32_t>(choice.s[g]) << 28;
  for (size_t l = 0; l < 4; ++l) {
    word |= static_cast<uint32_t>(choice.signs[4 * g + l] & 127) << 7 * l;
  }
  return word;
}

// 4-bit scales, two per byte.
template <size_t Bytes>
void put_scales(const CodebookChoice& choice, uint8_t (&scales)[Bytes]) {
  for (size_t b = 0; b < Bytes; ++b) {
    scales[b] = static_cast<uint8_t>(choice.s[2 * b] | choice.s[2 * b + 1] << 4);
  }
}

}  // namespace

void encode(const float* x, const float* w, gguf::BlockIQ2_XXS& out) {
  static const CodebookSearch search(cpu::kIq2XxsCodebook);
  const auto choice = search.encode(x, w, {32, 8, Signs::kEven, 16, 0.125f});
  out.d = choice.d;
  for (size_t g = 0; g < 8; ++g) {
    uint32_t entries = 0;
    for (size_t l = 0; l < 4; ++l) {
      entries |= static_cast<uint32_t>(choice.entry[4 * g + l]) << 8 * l;
    }
    const uint32_t fields = signs_and_scale(choice, g);
    out.qs[4 * g] = low_half(entries);
    out.qs[4 * g + 1] = high_half(entries);
    out.qs[4 * g + 2] = low_half(fields);
    out.qs[4 * g + 3] = high_half(fields);
  }
}

void encode(const float* x, const float* w, gguf::BlockIQ2_XS& out) {
  static const CodebookSearch search(cpu::kIq2XsCodebook);
  const auto choice = search.encode(x, w, {16, 8, Signs::kEven, 16, 0.125f});
  out.d = choice.d;
  for (size_t r = 0; r < 32; ++r) {
    out.qs[r] = static_cast<uint16_t>(choice.entry[r] | (choice.signs[r] & 127) << 9);
  }
  put_scales(choice, out.scales);
}

void encode(const float* x, const float* w, gguf::BlockIQ2_S& out) {
  static const CodebookSearch search(cpu::kIq2SCodebook);
  const auto choice = search.encode(x, w, {16, 8, Signs::kFree, 16, 0.125f});
  out = {};
  out.d = choice.d;
  for (size_t r = 0; r < 32; ++r) {
    out.qs[r] = static_cast<uint8_t>(choice.entry[r]);
    out.signs[r] = choice.signs[r];
    out.qh[r / 4] |= static_cast<uint8_t>(choice.entry[r] >> 8 << 2 * (r % 4));
  }
  put_scales(choice, out.scales);
}

void encode(const float* x, const float* w, gguf::BlockIQ3_XXS& out) {
  static const CodebookSearch search(cpu::kIq3XxsCodebook);
  const auto choice = search.encode(x, w, {32, 8, Signs::kEven, 16, 0.25f});
  out.d = choice.d;
  for (size_t f = 0; f < 64; ++f) out.qs[f] = static_cast<uint8_t>(choice.entry[f]);
  for (size_t g = 0; g < 8; ++g) {
    const uint32_t fields = signs_and_scale(choice, g);
    out.signs_scales[2 * g] = low_half(fields);
    out.signs_scales[2 * g + 1] = high_half(fields);
  }
}

void encode(const float* x, const float* w, gguf::BlockIQ3_S& out) {
  static const CodebookSearch search(cpu::kIq3SCodebook);
  const auto choice = search.encode(x, w, {32, 8, Signs::kFree, 16, 1.0f});
  out = {};
  out.d = choice.d;
  for (size_t f = 0; f < 64; ++f) {
    out.qs[f] = static_cast<uint8_t>(choice.entry[f]);
    out.qh[f / 8] |= static_cast<uint8_t>(choice.entry[f] >> 8 << f % 8);
  }
  for (size_t r = 0; r < 32; ++r) out.signs[r] = choice.signs[r];
  put_scales(choice, out.scales);
}

void encode(const float* x, const float* w, gguf::BlockIQ1_S& out) {
  static const CodebookSearch search(cpu::kIq1Codebook);
  const auto choice = search.encode(x, w, {32, 32, Signs::kShifted, 8, 1.0f});
  out.d = choice.d;
  for (size_t g = 0; g < 8; ++g) {
    uint32_t fields = choice.s[g] << 12 | (choice.down[g] ? 0x8000u : 0u);
    for (size_t l = 0; l < 4; ++l) {
      const uint32_t entry = choice.entry[4 * g + l];
      out.qs[4 * g + l] = static_cast<uint8_t>(entry);
      fields |= entry >> 8 << 3 * l;
    }
    out.qh[g] = low_half(fields);
  }
}

void encode(const float* x, const float* w, gguf::BlockIQ1_M& out) {
  static const CodebookSearch search(cpu::kIq1Codebook);
  const auto choice = search.encode(x, w, {16, 8, Signs::kShifted, 8, 1.0f});
  out = {};
  for (size_t r = 0; r < 32; ++r) {
    const unsigned fields = choice.entry[r] >> 8 | (choice.down[r] ? 8u : 0u);
    out.qs[r] = static_cast<uint8_t>(choice.entry[r]);
    out.qh[r / 2] |= static_cast<uint8_t>(fields << 4 * (r % 2));
  }
  for (size_t i = 0; i < 4; ++i) {
    unsigned word = (choice.d >> 4 * i & 15u) << 12;
    for (size_t b = 0; b < 4; ++b) word |= static_cast<unsigned>(choice.s[4 * i + b]) << 3 * b;
    out.scales[i] = low_half(word);
  }
}

}  // namespace quern::kernels::quantize

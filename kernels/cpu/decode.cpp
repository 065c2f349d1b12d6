// decode_row: weights to f32. The 16 rows of a panel are here 16 consecutive blocks of one row, so
// that every format's SIMD unpacker serves for decoding too.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/format_kernels.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/reference.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/decode.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// out[r * values + k] = scale * code - min for blocks r < blocks of a panel.
#if HWY_TARGET == HWY_SCALAR

void DecodePanel(const Panel& panel, const gguf::FormatInfo& format, size_t blocks, float* out) {
  const bool with_minimum = has_minimum(format.format);
  for (size_t r = 0; r < blocks; ++r) {
    for (size_t k = 0; k < format.block_values; ++k) {
      const size_t group = k / format.scale_group;
      const int code = panel.codes[k / 4][r][k % 4] - code_bias(format.format);
      const float product = panel.scale[group][r] * static_cast<float>(code);
      *out++ = with_minimum ? product - panel.min[group][r] : product;
    }
  }
}

#else

namespace hn = hwy::HWY_NAMESPACE;
using DF = hn::CappedTag<float, kPanelRows>;
using VF = hn::Vec<DF>;
using DI = hn::RebindToSigned<DF>;

// Value kIndex of four, of every row.
template <int kIndex>
HWY_INLINE VF Code(hn::Vec<DI> biased, hn::Vec<DI> bias) {
  const DI d;
  const auto byte = hn::And(hn::ShiftRight<8 * kIndex>(biased), hn::Set(d, 0xFF));
  return hn::ConvertTo(DF(), hn::Sub(byte, bias));
}

void DecodePanel(const Panel& panel, const gguf::FormatInfo& format, size_t blocks, float* out) {
  const DF d;
  const bool with_minimum = has_minimum(format.format);
  const auto bias = hn::Set(DI(), code_bias(format.format));
  for (size_t k = 0; k < format.block_values; k += 4) {
    const size_t group = k / format.scale_group;
    alignas(64) float four[4][kPanelRows];  // [value][row]
    for (size_t lane = 0; lane < kPanelRows; lane += hn::MaxLanes(d)) {
      const auto codes =
          hn::Load(DI(), reinterpret_cast<const int32_t*>(&panel.codes[k / 4][lane]));
      const VF scale = hn::Load(d, panel.scale[group] + lane);
      VF values[] = {hn::Mul(scale, Code<0>(codes, bias)), hn::Mul(scale, Code<1>(codes, bias)),
                     hn::Mul(scale, Code<2>(codes, bias)), hn::Mul(scale, Code<3>(codes, bias))};
      for (size_t j = 0; j < 4; ++j) {
        if (with_minimum) values[j] = hn::Sub(values[j], hn::Load(d, panel.min[group] + lane));
        hn::Store(values[j], d, four[j] + lane);
      }
    }
    for (size_t r = 0; r < blocks; ++r) {
      for (size_t j = 0; j < 4; ++j) out[r * format.block_values + k + j] = four[j][r];
    }
  }
}

#endif

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(DecodePanel);

void decode_row(gguf::Format format, const std::byte* row, float* out, size_t values) {
  const gguf::FormatInfo& facts = gguf::info(format);
  // Plain floats decode by a load; the compiler does as well as we would.
  if (facts.is_float()) return reference::decode_row(format, row, out, values);
  const size_t total = values / facts.block_values;
  Panel panel;
  for (size_t first = 0; first < total; first += kPanelRows) {
    const size_t blocks = std::min(kPanelRows, total - first);
    const std::byte* start = row + first * facts.block_bytes;
    alignas(64) std::byte padded[kPanelRows * 256];
    if (blocks < kPanelRows) {
      std::memset(padded, 0, sizeof padded);
      std::memcpy(padded, start, blocks * facts.block_bytes);
      start = padded;
    }
    unpack_panel(format, {start, facts.block_bytes}, 0, facts.block_values, panel);
    HWY_DYNAMIC_DISPATCH(DecodePanel)(panel, facts, blocks, out + first * facts.block_values);
  }
}

}  // namespace quern::kernels::cpu
#endif

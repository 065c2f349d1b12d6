// F16 (spec: block formats). For several tokens, 256 values of the rows are first widened to F32.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/f16.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/floats-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// The same values as lines of F32.
TileLines Widen(const TileLines& halves, size_t values, FloatScratch& memory) {
  TileLines lines{{}, halves.rows, values};
  for (size_t panel = 0; panel * kPanelRows < halves.rows; ++panel) {
    float* out = memory.values[panel];
    for (size_t k = 0; k < values; k += 2) {
      for (size_t row = 0; row < kPanelRows; row += kFloatLanes) {
        const auto w = F16Line::Load(halves.panels[panel] + k / 2 * kPanelRows + row);
        hn::Store(w.first, DF(), out + k * kPanelRows + row);
        hn::Store(w.second, DF(), out + (k + 1) * kPanelRows + row);
      }
    }
    lines.panels[panel] = reinterpret_cast<const uint32_t*>(out);
  }
  return lines;
}

void MultiplyF16(const MatMulTile& tile, std::byte* scratch) {
  const auto add = [&](const TileLines& lines, size_t k, size_t values,
                       FloatScratch& memory) HWY_ATTR {
    const float* x = tile.floats + k;
    if (tile.tokens == 1 && values % 2 == 0) {
      AddProducts<F16Line>(lines, x, tile.values, 1, tile.out);
    } else {
      AddProducts<F32Line>(Widen(lines, values, memory), x, tile.values, tile.tokens, tile.out);
    }
  };
  EachSlice<gguf::Format::F16>(tile, scratch, add);
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FLOAT_KERNELS(F16)

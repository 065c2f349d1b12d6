// F32 (spec: block formats).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/f32.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/floats-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

void MultiplyF32(const MatMulTile& tile, std::byte* scratch) {
  const auto add = [&](const TileLines& lines, size_t k, size_t, FloatScratch&) HWY_ATTR {
    AddProducts<F32Line>(lines, tile.floats + k, tile.values, tile.tokens, tile.out);
  };
  EachSlice<gguf::Format::F32>(tile, scratch, add);
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FLOAT_KERNELS(F32)

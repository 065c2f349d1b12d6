#include "kernels/cpu/finish_tile.h"

#include "kernels/cpu/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/finish_tile.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Lanes(d) values from row r of a token on.
template <class D>
HWY_INLINE void FinishRows(D d, const float* tile, float factor, const float* add, float* out) {
  const auto y = hn::Mul(hn::Set(d, factor), hn::LoadU(d, tile));
  hn::StoreU(add ? hn::Add(hn::LoadU(d, add), y) : y, d, out);
}

void Finish(const FinishTile& task) {
  const hn::CappedTag<float, kPanelRows> d;
  const hn::CappedTag<float, 1> d1;
  constexpr size_t kLanes = hn::MaxLanes(d);
  for (size_t t = 0; t < task.tokens; ++t) {
    const float factor = task.gate ? task.gate[t] * task.scale : task.scale;
    const float* tile = task.tile + t * kRowTile;
    const float* add = task.add ? task.add + t * task.stride : nullptr;
    float* out = task.out + t * task.stride;
    size_t r = 0;
    for (; r + kLanes <= task.rows; r += kLanes) {
      FinishRows(d, tile + r, factor, add ? add + r : nullptr, out + r);
    }
    for (; r < task.rows; ++r) FinishRows(d1, tile + r, factor, add ? add + r : nullptr, out + r);
  }
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels::cpu {

HWY_EXPORT(Finish);

void finish_tile(const FinishTile& task) { HWY_DYNAMIC_DISPATCH(Finish)(task); }

}  // namespace quern::kernels::cpu
#endif

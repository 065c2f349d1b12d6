#include "kernels/quantize/least_squares.h"

#include <limits>

#include "kernels/quantize/clones.h"

namespace quern::kernels::quantize {

QUERN_CLONES Affine best_affine(const float* x, const float* w, size_t n, float top,
                                bool min_not_negative) {
  auto [low_at, high_at] = std::minmax_element(x, x + n);
  const float high = *high_at;
  const float low = min_not_negative ? std::min(*low_at, 0.0f) : *low_at;
  const float range = high - low;
  if (!(range > 0) || inverse(range) == 0)
    return {0, min_not_negative ? std::max(-low, 0.0f) : -low};
  Affine best;
  float best_loss = std::numeric_limits<float>::infinity();
  const auto try_pair = [&](const Affine& start) {
    const AffineFit sums = fit_affine(x, w, n, start, top);
    const Affine fit = sums.solve(min_not_negative);
    const float loss = sums.loss(fit);
    if (!(loss < best_loss)) return false;
    best_loss = loss;
    best = fit;
    return true;
  };
  // Both ends move inwards by up to a code step or so: a few clipped values for finer steps.
  const float step = 0.3f * range / top;
  for (int a = -1; a < 4; ++a) {
    for (int b = -1; b < 4; ++b) {
      const float from = low + static_cast<float>(a) * step;
      const float to = high - static_cast<float>(b) * step;
      try_pair({(to - from) / top, -from});
    }
  }
  for (int k = 0; k < 4 && try_pair(best); ++k) {
  }
  return best;
}

}  // namespace quern::kernels::quantize

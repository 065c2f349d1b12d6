// The best logits of a row, chosen by the CPU.
#include <algorithm>
#include <cmath>
#include <optional>

#include "kernels/backend.h"

namespace quern::kernels {
namespace {

// A total order: an exact list follows from it, whatever the algorithm.
bool better(const TopLogit& a, const TopLogit& b) {
  if (std::isnan(a.logit) || std::isnan(b.logit)) {
    return std::isnan(a.logit) == std::isnan(b.logit) ? a.id < b.id : std::isnan(b.logit);
  }
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// Appends the best of one row to `best`.
void choose(std::span<const float> logits, uint32_t count, std::vector<TopLogit>& best) {
  std::vector<TopLogit> kept;  // cut to the best whenever twice as many are there
  kept.reserve(2 * size_t{count});
  std::optional<TopLogit> worst;  // of those that were kept at the last cut
  const auto keep_best = [&] {
    std::ranges::nth_element(kept, kept.begin() + count - 1, better);
    kept.resize(count);
    worst = kept.back();
  };
  for (uint32_t id = 0; id < logits.size(); ++id) {
    const TopLogit next{id, logits[id]};
    if (worst && !better(next, *worst)) continue;
    kept.push_back(next);
    if (kept.size() == 2 * size_t{count}) keep_best();
  }
  if (kept.size() > count) keep_best();
  std::ranges::sort(kept, better);
  best.insert(best.end(), kept.begin(), kept.end());
}

}  // namespace

Result<std::span<const TopLogit>> Executable::run_top(const Batch& batch, const TopRequest& request,
                                                      const std::atomic<bool>& cancel) {
  QUERN_TRY(const std::span<const float> logits, run(batch, cancel));
  const size_t rows = batch.logit_rows.size(), width = rows > 0 ? logits.size() / rows : 0;
  top_.clear();
  for (size_t row = 0; row < rows; ++row) {
    choose(logits.subspan(row * width, request.ids), request.count, top_);
  }
  return top_;
}

}  // namespace quern::kernels

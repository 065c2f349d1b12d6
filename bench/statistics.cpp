#include "bench/statistics.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>
#include <random>

namespace quern::bench {
namespace {

constexpr size_t kResamples = 2000;
constexpr uint64_t kSeed = 1;

// Draws as many samples as there are, with replacement. Not a std:: distribution: those differ
// between libraries.
class Resampler {
 public:
  std::span<const double> draw(std::span<const double> samples) {
    drawn_.resize(samples.size());
    for (double& value : drawn_) value = samples[random_() % samples.size()];
    return drawn_;
  }

 private:
  std::mt19937_64 random_{kSeed};
  std::vector<double> drawn_;
};

// `statistic(resampler)` of every resample.
template <typename Statistic>
Interval bootstrap(Statistic statistic) {
  Resampler resampler;
  std::vector<double> values(kResamples);
  for (double& value : values) value = statistic(resampler);
  return {quantile(values, 0.025), quantile(values, 0.975)};
}

}  // namespace

double quantile(std::span<const double> samples, double q) {
  assert(!samples.empty());
  std::vector<double> sorted(samples.begin(), samples.end());
  std::ranges::sort(sorted);
  const double position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

double median(std::span<const double> samples) { return quantile(samples, 0.5); }

double mean(std::span<const double> samples) {
  assert(!samples.empty());
  return std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
}

double standard_deviation(std::span<const double> samples) {
  if (samples.size() < 2) return 0;
  const double center = mean(samples);
  double squares = 0;
  for (const double value : samples) squares += (value - center) * (value - center);
  return std::sqrt(squares / static_cast<double>(samples.size() - 1));
}

Interval median_interval(std::span<const double> samples) {
  return bootstrap([&](Resampler& resampler) { return median(resampler.draw(samples)); });
}

Interval ratio_interval(std::span<const double> samples, std::span<const double> base) {
  return bootstrap([&](Resampler& resampler) {
    const double above = median(resampler.draw(samples));
    return above / median(resampler.draw(base));
  });
}

bool is_bimodal(std::span<const double> samples) {
  if (samples.size() < 8) return false;
  std::vector<double> sorted(samples.begin(), samples.end());
  std::ranges::sort(sorted);
  const size_t least = (sorted.size() + 4) / 5;
  size_t split = least;  // first sample of the upper group
  for (size_t i = least; i + least <= sorted.size(); ++i) {
    if (sorted[i] - sorted[i - 1] > sorted[split] - sorted[split - 1]) split = i;
  }
  const double gap = sorted[split] - sorted[split - 1];
  return gap > 0.05 * median(sorted) && gap > sorted[split - 1] - sorted.front() &&
         gap > sorted.back() - sorted[split];
}

double drift(std::span<const double> samples) {
  const size_t third = samples.size() / 3;
  return third == 0 ? 1 : mean(samples.last(third)) / mean(samples.first(third));
}

}  // namespace quern::bench

// Statistics of repeated measurements.
#pragma once

#include <span>
#include <vector>

namespace quern::bench {

// Quantile q (0 to 1) with linear interpolation between order statistics (Hyndman and Fan 1996,
// type 7). `samples` must not be empty; their order does not matter.
double quantile(std::span<const double> samples, double q);
double median(std::span<const double> samples);
double mean(std::span<const double> samples);
// Sample standard deviation (n - 1); 0 for one sample.
double standard_deviation(std::span<const double> samples);

struct Interval {
  double low, high;
};

// 95 % confidence interval by the percentile bootstrap (Efron 1979), resampled with a fixed seed:
// equal samples give equal intervals.
Interval median_interval(std::span<const double> samples);
// The same for median(samples) / median(base).
Interval ratio_interval(std::span<const double> samples, std::span<const double> base);

// Whether the samples fall into two groups: each holds a fifth of at least eight samples, and the
// gap between them is wider than 5 % of the median and than either group.
bool is_bimodal(std::span<const double> samples);

// Mean of the last third over mean of the first third; 1 for fewer than three samples.
double drift(std::span<const double> samples);

}  // namespace quern::bench

// A small random number generator whose stream is the same on every platform, and the two
// elementary functions the samplers need, written so that their bits are the same too (the
// standard library's exp and log may differ between C libraries and between CPUs).
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>

namespace quern::engine {

// xoshiro256** seeded by SplitMix64 (Blackman and Vigna, "Scrambled Linear Pseudorandom Number
// Generators", 2018). Copyable; equal states give equal streams.
class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) {
      seed += 0x9E3779B97F4A7C15u;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
      word = z ^ (z >> 31);
    }
  }

  uint64_t next() {
    const uint64_t result = rotate(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate(state_[3], 45);
    return result;
  }

  // Uniform in [0, 1), from the upper 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  static uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

  std::array<uint64_t, 4> state_;
};

// e^x for x <= 0, within about 1 ulp (0 below -700): x = k ln 2 + r with |r| <= ln 2 / 2, and the
// Taylor series for e^r.
inline double portable_exp(double x) {
  if (!(x > -700.0)) return 0.0;
  const double k = std::floor(x * std::numbers::log2e + 0.5);
  // ln 2 in two parts: the product of k with the upper one is exact.
  const double r = (x - k * 0x1.62e42fefa0000p-1) - k * 0x1.cf79abc9e3b39p-40;
  constexpr std::array<double, 14> kInverseFactorials = [] {
    std::array<double, 14> c = {1.0};
    double factorial = 1.0;
    for (size_t i = 1; i < c.size(); ++i) c[i] = 1.0 / (factorial *= static_cast<double>(i));
    return c;
  }();
  double sum = 0.0;
  for (size_t i = kInverseFactorials.size(); i-- > 0;) sum = sum * r + kInverseFactorials[i];
  return sum * std::bit_cast<double>(static_cast<uint64_t>(k + 1023.0) << 52);  // times 2^k
}

// Natural logarithm of a positive, finite x, within a few ulp: x = m 2^e with m near 1,
// ln m = 2 atanh((m - 1) / (m + 1)).
inline double portable_log(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);
  if (m < std::numbers::sqrt2 / 2) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1);
  double sum = 0.0;
  for (int i = 23; i > 0; i -= 2) sum = sum * (s * s) + 1.0 / i;
  return 2 * s * sum + exponent * std::numbers::ln2;
}

}  // namespace quern::engine

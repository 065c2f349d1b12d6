#include "engine/models/rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>

namespace quern::engine::models {
namespace {

constexpr Keys::Range kFactor = {0, 1e6};

constexpr const char* kShortFactors = "rope_factors_short.weight";
constexpr const char* kLongFactors = "rope_factors_long.weight";

// Divisors of the angles, one per pair: those of a tensor, or ones if the file has none.
Result<std::vector<double>> read_divisors(const gguf::File& file, const char* name, size_t pairs) {
  std::vector<double> divisors(pairs, 1.0);
  const gguf::TensorView* tensor = file.find_tensor(name);
  if (!tensor) return divisors;
  if (tensor->format != gguf::Format::F32 || tensor->elements() != pairs) {
    auto error = bad_input("tensor-shape",
                           fmt::format("tensor \"{}\": {} values of {}, expected {} of f32", name,
                                       tensor->elements(), gguf::info(tensor->format).name, pairs));
    error.value().path = file.path();
    return error;
  }
  for (size_t i = 0; i < pairs; ++i) {
    float divisor;
    std::memcpy(&divisor, tensor->bytes.data() + i * sizeof(float), sizeof divisor);
    divisors[i] = divisor;
  }
  return divisors;
}

double angle_of(double base, size_t pair, uint32_t dimensions) {
  return std::pow(base, -2.0 * static_cast<double>(pair) / dimensions);
}

struct Yarn {
  double factor, extrapolation, beta_fast, beta_slow, original_context, base;
  size_t dimensions;

  // Share of pair i that keeps its unscaled angle (Peng et al. 2023).
  double ramp(size_t i) const {
    const double low = std::max(0.0, std::floor(dimension(beta_fast)));
    const double high =
        std::min(static_cast<double>(dimensions) - 1, std::ceil(dimension(beta_slow)));
    const double position = (static_cast<double>(i) - low) / std::max(0.001, high - low);
    return (1 - std::clamp(position, 0.0, 1.0)) * extrapolation;
  }

 private:
  // The pair that turns `rotations` times over the original context.
  double dimension(double rotations) const {
    return static_cast<double>(dimensions) *
           std::log(original_context / (2 * std::numbers::pi * rotations)) / (2 * std::log(base));
  }
};

// Net magnitude of YaRN: attention temperature by factor, relative to the one at k = 1 when the
// file gives a log multiplier k.
double yarn_magnitude(double factor, double log_multiplier) {
  const auto scale = [&](double k) { return factor <= 1 ? 1 : 1 + 0.1 * k * std::log(factor); };
  return log_multiplier == 0 ? scale(1) : scale(1) / scale(log_multiplier);
}

}  // namespace

Result<kernels::Rope> read_rope(Keys& keys, const Config& config, kernels::Rope::Pairs pairs) {
  const double base = keys.real("rope.freq_base", {1e-3, 1e12}, 10000.0);
  const std::string type = keys.text("rope.scaling.type", "linear");
  double factor =
      keys.real("rope.scaling.factor", kFactor, keys.real("rope.scale_linear", kFactor, 0.0));
  const bool longrope = type == "longrope" || keys.file().find_tensor(kShortFactors);
  if (factor == 0 || type == "none" || longrope) factor = 1;
  const bool yarn = type == "yarn";
  if (!yarn && type != "linear" && type != "none" && type != "longrope") {
    keys.reject("rope-scaling", "rope.scaling.type",
                fmt::format("rope scaling {} is not supported; supported: none, linear, yarn, "
                            "longrope",
                            escape(type)));
  }
  const Yarn scaling{
      .factor = factor,
      .extrapolation = keys.real("rope.scaling.yarn_ext_factor", {-1, 1e3}, yarn ? 1.0 : 0.0),
      .beta_fast = keys.real("rope.scaling.yarn_beta_fast", {1e-3, 1e6}, 32.0),
      .beta_slow = keys.real("rope.scaling.yarn_beta_slow", {1e-3, 1e6}, 1.0),
      .original_context = static_cast<double>(
          keys.integer("rope.scaling.original_context_length", {1, 2147483647}, config.context)),
      .base = base,
      .dimensions = config.rope_dimensions};
  const double attention_factor = keys.real("rope.scaling.attn_factor", {0, 1e3}, 1.0);
  const double log_multiplier = keys.real("rope.scaling.yarn_log_multiplier", {0, 1e3}, 0.0);
  QUERN_CHECK(keys.status());

  const size_t count = config.rope_dimensions / 2;
  QUERN_TRY(const std::vector<double> divisors,
            read_divisors(keys.file(), longrope ? kShortFactors : "rope_freqs.weight", count));
  kernels::Rope rope{.frequencies = {}, .magnitude = 1, .pairs = pairs};
  for (size_t i = 0; i < count; ++i) {
    const double unscaled = angle_of(base, i, config.rope_dimensions) / divisors[i];
    const double share = yarn ? scaling.ramp(i) : 0;
    rope.frequencies.push_back(unscaled / factor * (1 - share) + unscaled * share);
  }
  rope.magnitude =
      static_cast<float>(attention_factor * (yarn ? yarn_magnitude(factor, log_multiplier) : 1));
  return rope;
}

kernels::Rope read_window_rope(Keys& keys, const Config& config, kernels::Rope::Pairs pairs,
                               double base) {
  base = keys.real("rope.freq_base_swa", {1e-3, 1e12}, base);
  kernels::Rope rope{.frequencies = {}, .magnitude = 1, .pairs = pairs};
  for (size_t i = 0; i < config.rope_dimensions / 2; ++i) {
    rope.frequencies.push_back(angle_of(base, i, config.rope_dimensions));
  }
  return rope;
}

Result<LongRope> read_long_rope(Keys& keys, const Config& config, kernels::Rope::Pairs pairs) {
  if (!keys.file().find_tensor(kLongFactors)) return LongRope{};
  QUERN_TRY(kernels::Rope rope, read_rope(keys, config, pairs));
  const size_t count = rope.frequencies.size();
  QUERN_TRY(const std::vector<double> divisors, read_divisors(keys.file(), kLongFactors, count));
  QUERN_TRY(const std::vector<double> before, read_divisors(keys.file(), kShortFactors, count));
  for (size_t i = 0; i < count; ++i) rope.frequencies[i] *= before[i] / divisors[i];
  const uint64_t beyond =
      keys.integer("rope.scaling.original_context_length", {1, 2147483647}, config.context);
  return LongRope{static_cast<uint32_t>(beyond), std::move(rope)};
}

}  // namespace quern::engine::models

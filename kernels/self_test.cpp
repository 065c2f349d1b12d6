#include "kernels/self_test.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <deque>
#include <iterator>
#include <mutex>
#include <optional>
#include <random>
#include <system_error>
#include <thread>

#include "kernels/os_machine.h"
#include "kernels/random_weights.h"

namespace quern::kernels {
namespace {

using gguf::Format;

// One layer with random weights: norms, rope, cache, attention of grouped heads, a gated unit or
// experts, residual adds and an output.
class SmallModel {
 public:
  static constexpr uint32_t kTokens = 32, kWidth = 128, kHidden = 256, kExperts = 4;
  static constexpr Heads kHeads = {4, 2, 32, 32};

  explicit SmallModel(bool experts) {
    const ValueId x = program_.add_value(kWidth);
    program_.ops.push_back(Embed{matrix(Format::F16, kWidth, kTokens), x});
    attend(x);
    experts ? choose_experts(x) : feed_forward(x);
    const ValueId last = program_.add_value(kWidth, ValueInfo::Rows::kLogits);
    const ValueId logits = program_.add_value(kTokens, ValueInfo::Rows::kLogits);
    program_.ops.push_back(SelectLogitRows{x, last});
    program_.ops.push_back(Projection{
        last, norm(), {{.weight = matrix(Format::F16, kWidth, kTokens), .out = logits}}});
    program_.finish(logits);
  }

  const Program& program() const { return program_; }
  std::span<const gguf::TensorView> weights() const { return weights_; }

 private:
  WeightId add(Format format, std::array<uint64_t, 4> shape, std::vector<std::byte> bytes) {
    storage_.push_back(std::move(bytes));
    program_.weights.push_back({"weight", format, shape});
    weights_.push_back(
        {.name = "weight", .format = format, .shape = shape, .dims = 4, .bytes = storage_.back()});
    return static_cast<WeightId>(weights_.size() - 1);
  }
  // A matrix whose product with unit inputs has about unit size.
  WeightId matrix(Format format, uint64_t in, uint64_t out, uint64_t count = 1) {
    std::vector<std::byte> bytes(gguf::info(format).row_bytes(in) * out * count);
    random_weights(format, 1 / std::sqrt(static_cast<float>(in)), weights_.size(), bytes);
    return add(format, {in, out, count, 1}, std::move(bytes));
  }
  Norm norm() {
    std::normal_distribution<float> around_one(1, 0.1f);
    std::vector<std::byte> bytes(kWidth * sizeof(float));
    for (size_t i = 0; i < kWidth; ++i) {
      const float value = around_one(random_);
      std::memcpy(bytes.data() + i * sizeof value, &value, sizeof value);
    }
    return {.weight = add(Format::F32, {kWidth, 1, 1, 1}, std::move(bytes)), .epsilon = 1e-5f};
  }

  void attend(ValueId x) {
    const uint32_t keys = kHeads.keys * kHeads.key_width;
    const ValueId q = program_.add_value(kWidth), k = program_.add_value(keys),
                  v = program_.add_value(keys), out = program_.add_value(kWidth);
    Rope rope;
    for (uint32_t i = 0; i < kHeads.key_width / 2; ++i) {
      rope.frequencies.push_back(std::pow(1e4, -2.0 * i / kHeads.key_width));
    }
    program_.ropes.push_back(rope);
    program_.layers.push_back(kHeads);
    program_.ops.push_back(Projection{x,
                                      norm(),
                                      {{.weight = matrix(Format::F16, kWidth, kWidth), .out = q},
                                       {.weight = matrix(Format::Q8_0, kWidth, keys), .out = k},
                                       {.weight = matrix(Format::Q4_0, kWidth, keys), .out = v}}});
    program_.ops.push_back(
        CacheAppend{.q = q, .k = k, .v = v, .q_norm = {}, .k_norm = {}, .rope = 0, .layer = 0});
    const float scale = 1 / std::sqrt(static_cast<float>(kHeads.key_width));
    program_.ops.push_back(Attention{.q = q, .out = out, .layer = 0, .scale = scale});
    program_.ops.push_back(
        Projection{out, {}, {{.weight = matrix(Format::F16, kWidth, kWidth), .out = x, .add = x}}});
  }
  void feed_forward(ValueId x) {
    const ValueId hidden = program_.add_value(kHidden);
    program_.ops.push_back(
        Projection{x,
                   norm(),
                   {{.weight = matrix(Format::Q5_0, kWidth, kHidden), .out = hidden},
                    {.weight = matrix(Format::Q5_0, kWidth, kHidden)}},
                   Activation::kSilu});
    program_.ops.push_back(Projection{
        hidden, {}, {{.weight = matrix(Format::Q4_K, kHidden, kWidth), .out = x, .add = x}}});
  }
  void choose_experts(ValueId x) {
    program_.ops.push_back(Experts{.in = x,
                                   .norm = norm(),
                                   .router = matrix(Format::F16, kWidth, kExperts),
                                   .gate = matrix(Format::Q8_0, kWidth, kHidden, kExperts),
                                   .up = matrix(Format::Q8_0, kWidth, kHidden, kExperts),
                                   .down = matrix(Format::Q6_K, kHidden, kWidth, kExperts),
                                   .used = 2,
                                   .out = x,
                                   .add = x});
  }

  Program program_;
  std::vector<gguf::TensorView> weights_;
  std::deque<std::vector<std::byte>> storage_;
  std::mt19937 random_{7};
};

constexpr uint32_t kMany = 40;  // rows of the first batch

// Logits of the last of kMany rows, then those of one more.
Result<std::vector<float>> logits(Backend& backend, const SmallModel& model, CacheType type) {
  QUERN_TRY(const auto cache, backend.make_cache(model.program(), type, 1));
  QUERN_TRY(const auto executable,
            backend.compile(model.program(), model.weights(), *cache,
                            {.rows = kMany, .logit_rows = 1, .positions = kMany + 1}));
  std::vector<float> all;
  for (const auto [first, count] : {std::array{0u, kMany}, std::array{kMany, 1u}}) {
    std::vector<int32_t> tokens(count);
    std::vector<uint32_t> positions(count), sequences(count);
    for (uint32_t i = 0; i < count; ++i) {
      tokens[i] = static_cast<int32_t>((first + i) * 11 % SmallModel::kTokens);
      positions[i] = first + i;
    }
    const uint32_t block = 0, last = count - 1;
    const std::span<const uint32_t> table(&block, 1);
    const std::atomic<bool> never{false};
    QUERN_TRY(const auto found, executable->run({.tokens = tokens,
                                                 .positions = positions,
                                                 .sequences = sequences,
                                                 .block_tables = {&table, 1},
                                                 .logit_rows = {&last, 1}},
                                                never));
    all.insert(all.end(), found.begin(), found.end());
  }
  return all;
}

// Where the results differ by more than `bound` times the largest.
Result<std::string> compare(Backend& device, bool experts, CacheType type, float bound) {
  const SmallModel model(experts);
  const auto exact = make_reference_backend();
  QUERN_TRY(const std::vector<float> expected, logits(*exact, model, type));
  QUERN_TRY(const std::vector<float> found, logits(device, model, type));
  float largest = 0, difference = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const float d = std::abs(found[i] - expected[i]);
    difference = d <= difference ? difference : d;  // NaN counts
  }
  if (difference <= bound * largest) return std::string();
  return fmt::format("logits differ by {} of {}", difference, largest);
}

struct KeptAs {
  const char* name;
  CacheType type;
  float bound;  // a cache of fewer bits rounds small differences to steps
};
constexpr KeptAs kCaches[] = {{"f32", CacheType::kF32, 2e-4f},
                              {"f16", CacheType::kF16, 2e-3f},
                              {"q8_0", CacheType::kQ8_0, 2e-2f}};

// What a variant's products of a model may change of its logits, as a multiple of its bound: errors
// of a product are far below the bound, but add up over products.
constexpr float kLogitShare = 5;

std::string model_name(bool experts) { return experts ? "mixture-of-experts" : "dense"; }

// One thing to find out about a variant of products, with any device of the kind.
struct Step {
  std::string_view variant;
  std::function<std::vector<Finding>(Backend&)> look;
  std::vector<Finding> found = {};
  bool done = false;
};

// The error of a device that failed, which says nothing of what it computes.
std::optional<Error> failure_in(std::span<const Finding> findings) {
  constexpr std::string_view kFailures[] = {"device-lost", "device-memory", "out-of-memory"};
  for (const Finding& finding : findings) {
    const bool failure =
        finding.error && std::ranges::find(kFailures, finding.error->code) != std::end(kFailures);
    if (failure) return finding.error;
  }
  return {};
}

// Takes steps in their order, from several threads with a device each, and reports what share is
// done.
class Steps {
 public:
  Steps(std::vector<Step>& steps, const std::function<void(double)>& progress)
      : steps_(steps), progress_(progress) {}

  // Until all are taken, or the device fails, which is returned.
  std::optional<Error> take(Backend& device) {
    for (size_t i; (i = next_++) < steps_.size();) {
      if (auto failure = look(steps_[i], device)) return failure;
    }
    return {};
  }
  // Those that others took and did not do, because their device failed.
  std::optional<Error> take_the_rest(Backend& device) {
    for (Step& step : steps_) {
      if (step.done) continue;
      if (auto failure = look(step, device)) return failure;
    }
    return {};
  }

 private:
  std::optional<Error> look(Step& step, Backend& device) {
    if (!step.variant.empty()) device.use_variants(step.variant, step.variant);
    step.found = step.look(device);
    if (auto failure = failure_in(step.found)) return failure;
    step.done = true;
    const std::lock_guard lock(mutex_);
    ++done_;
    if (progress_) progress_(static_cast<double>(done_) / static_cast<double>(steps_.size()));
    return {};
  }

  std::vector<Step>& steps_;
  const std::function<void(double)>& progress_;
  std::atomic<size_t> next_ = 0;
  std::mutex mutex_;
  size_t done_ = 0;
};

// All steps, with `device` and, in threads of their own, others of the kind. Errors: of `device`;
// others only help.
Status take_all(std::vector<Step>& all, Backend& device, const SelfTestScope& scope,
                const std::function<void(double)>& progress) {
  constexpr size_t kMostThreads = 8;
  Steps steps(all, progress);
  std::optional<Error> failure;
  {
    std::vector<std::jthread> helpers;
    const size_t threads =
        scope.another ? std::min({usable_processors().size(), all.size(), kMostThreads}) : 1;
    const auto help = [&] {
      if (const auto other = scope.another()) static_cast<void>(steps.take(**other));
    };
    try {
      while (helpers.size() + 1 < threads) helpers.emplace_back(help);
    } catch (const std::system_error&) {  // no more threads: those there are do it
    }
    failure = steps.take(device);
  }
  if (!failure) failure = steps.take_the_rest(device);
  if (failure) return tl::unexpected(*failure);
  return {};
}

std::vector<Finding> named(gguf::Format format, std::vector<Finding> findings) {
  for (Finding& finding : findings) {
    finding.check = fmt::format("{}: {}", gguf::info(format).name, finding.check);
  }
  return findings;
}

std::vector<Finding> test_model(Backend& device, bool experts, CacheType type, float bound,
                                std::string check) {
  const auto problem = compare(device, experts, type, bound);
  Finding finding{std::move(check), problem ? *problem : problem.error().to_string()};
  if (!problem) finding.error = problem.error();
  return {std::move(finding)};
}

// Of the device itself, with exact products.
void add_exact_steps(std::string_view variant, const SelfTestScope& scope,
                     std::vector<Step>& steps) {
  for (const bool experts : {false, true}) {
    for (const auto& [name, type, bound] : kCaches) {
      if (!scope.models) break;
      const std::string check =
          fmt::format("a small {} model with a cache of {} gives the logits of the reference",
                      model_name(experts), name);
      steps.push_back({variant, [=](Backend& device) {
                         return test_model(device, experts, type, bound, check);
                       }});
    }
  }
  for (const gguf::Format format : scope.formats) {
    steps.push_back({variant, [format](Backend& device) {
                       return named(format, check_device(format, device));
                     }});
  }
}

void add_product_steps(const ProductVariant& variant, const SelfTestScope& scope,
                       std::vector<Step>& steps) {
  for (const gguf::Format format : scope.formats) {
    steps.push_back({variant.name, [format, variant](Backend& device) {
                       return named(format, check_products(format, device, variant));
                     }});
  }
  for (const bool experts : {false, true}) {
    if (!scope.models) break;
    steps.push_back({variant.name, [experts, variant](Backend& device) {
                       return test_model(
                           device, experts, CacheType::kF32, 2e-4f + kLogitShare * variant.bound,
                           fmt::format("a small {} model gives the logits of the reference",
                                       model_name(experts)));
                     }});
  }
}

// What the steps of a variant have found.
std::vector<Finding> found_of(std::string_view variant, std::vector<Step>& steps) {
  std::vector<Finding> all;
  for (Step& step : steps) {
    if (step.variant != variant) continue;
    all.insert(all.end(), std::make_move_iterator(step.found.begin()),
               std::make_move_iterator(step.found.end()));
  }
  return all;
}

}  // namespace

std::vector<gguf::Format> tested_formats() {
  std::vector<gguf::Format> formats;
  for (const gguf::FormatInfo& format : gguf::kFormats) {
    if (!format.is_float()) formats.push_back(format.format);
  }
  return formats;
}

Result<SelfTest> self_test(Backend& device, const SelfTestScope& scope,
                           const std::function<void(double)>& progress) {
  std::vector<ProductVariant> variants = device.variants();
  if (!scope.all_variants && !variants.empty())
    variants.erase(variants.begin(), variants.end() - 1);
  const std::string_view exact = variants.empty() ? "" : variants.back().name;
  std::vector<Step> steps;
  add_exact_steps(exact, scope, steps);
  for (const ProductVariant& variant : variants) {
    if (variant.name != exact) add_product_steps(variant, scope, steps);
  }
  QUERN_CHECK(take_all(steps, device, scope, progress));
  SelfTest test{found_of(exact, steps), {}};
  for (const ProductVariant& variant : variants) {
    TestedVariant tested{.name = std::string(variant.name), .findings = {}, .rates = {}};
    device.use_variants(variant.name, variant.name);
    if (variant.name != exact) tested.findings = found_of(variant.name, steps);
    if (scope.models && std::ranges::none_of(tested.findings, &Finding::failed)) {
      if (const auto rates = probe_products(device)) tested.rates = *rates;
    }
    test.variants.push_back(std::move(tested));
  }
  return test;
}

}  // namespace quern::kernels

#include "engine/plan_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

namespace quern::engine {
namespace {

using kernels::CacheType;

struct CacheName {
  CacheType type;
  const char* name;
};
constexpr std::array kCaches = {CacheName{CacheType::kF32, "f32"},
                                CacheName{CacheType::kF16, "f16"},
                                CacheName{CacheType::kQ8_0, "q8_0"}};

// Larger ones first.
constexpr std::string_view kUsualMixes[] = {"F16",  "Q8_0",   "Q6_K",   "Q5_K_M", "Q4_K_M",
                                            "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K",   "IQ2_XS"};

Result<MemoryPlan> plan(const PlanSubject& subject, const EngineOptions& options) {
  return plan_memory(subject.file, subject.model, options, subject.access, subject.devices,
                     subject.file_bytes);
}

// The largest n in [0, most] that `fits`, which holds for all smaller ones then, too; 0 if none.
template <typename Fits>
Result<uint32_t> largest(uint32_t most, const Fits& fits) {
  uint32_t good = 0, bad = most + 1;
  while (good + 1 < bad) {
    const uint32_t middle = good + (bad - good) / 2;
    QUERN_TRY(const bool within, fits(middle));
    (within ? good : bad) = middle;
  }
  return good;
}

// The experts of the first `layers` layers stay on the CPU.
void keep_experts(Placement& placement, uint32_t layers) {
  if (layers == 0) return;
  std::string numbers;
  for (uint32_t i = 0; i < layers; ++i) numbers += fmt::format("{}{}", i > 0 ? "|" : "", i);
  placement.rules.push_back({fmt::format("^blk\\.({})\\.ffn_.*_exps", numbers), "cpu"});
}

// Bytes per second of its fastest format; 0: not known.
double best_rate(const MachineSpeeds& speeds, const std::string& device) {
  double best = 0;
  const auto found = speeds.devices.find(device);
  if (found == speeds.devices.end()) return best;
  for (const auto& [format, rates] : found->second.formats) {
    best = std::max(best, rates.decode_bytes);
  }
  return best;
}

// Chooses what is on the devices of the placement: as much as fits into their memory.
class LayerChooser {
 public:
  LayerChooser(const PlanSubject& subject, const Budgets& budgets)
      : subject_(subject),
        devices_{.host = Budgets::kAnything, .devices = budgets.devices},
        layers_(subject.model.config.layers) {}

  Result<Fit> choose(const EngineOptions& options) const {
    const bool experts = subject_.model.config.experts > 0;
    QUERN_TRY(Fit fit, try_layers(options, layers_ + 1, 0));
    if (fit.plan.fits(devices_)) return fit;
    uint32_t kept = 0;
    if (experts) {
      QUERN_TRY(const uint32_t moved, largest(layers_, [&](uint32_t on_devices) {
                  return fits(options, layers_ + 1, layers_ - on_devices);
                }));
      kept = layers_ - moved;
      QUERN_TRY(fit, try_layers(options, layers_ + 1, kept));
      if (fit.plan.fits(devices_)) return fit;
    }
    QUERN_TRY(const uint32_t most,
              largest(layers_, [&](uint32_t layers) { return fits(options, layers, kept); }));
    return try_layers(options, most, kept);
  }

 private:
  Result<bool> fits(const EngineOptions& options, uint32_t layers, uint32_t kept_experts) const {
    QUERN_TRY(const Fit fit, try_layers(options, layers, kept_experts));
    return fit.plan.fits(devices_);
  }

  // `layers` as Placement has them, `kept_experts`: see keep_experts.
  Result<Fit> try_layers(EngineOptions options, uint32_t layers, uint32_t kept_experts) const {
    Fit fit;
    options.placement.layers = layers;
    keep_experts(options.placement, kept_experts);
    QUERN_TRY(fit.plan, plan(subject_, options));
    if (layers == layers_) fit.changes.push_back("embedding and output on the CPU");
    if (layers < layers_) {
      fit.changes.push_back(fmt::format("{} of {} layers on devices", layers, layers_));
    }
    if (kept_experts > 0) {
      fit.changes.push_back(
          fmt::format("experts of {} of {} layers on the CPU", kept_experts, layers_));
    }
    return fit;
  }

  const PlanSubject& subject_;
  const Budgets devices_;  // the host's memory is not this class's business
  const uint32_t layers_;
};

// Plans with the context and cache of `options`, and the layers where they fit best.
class Fitter {
 public:
  Fitter(const PlanSubject& subject, const Budgets& budgets)
      : subject_(subject), budgets_(budgets) {}

  Result<Fit> at(const EngineOptions& options) const {
    Fit fit;
    QUERN_TRY(fit.plan, plan(subject_, options));
    const Placement& placement = options.placement;
    const bool asked = placement.choice == Placement::Choice::kAsked || placement.devices.empty();
    if (asked) return fit;
    if (!fit.plan.fits(budgets_)) {
      EngineOptions by_memory = options;
      by_memory.placement.shares = device_shares(placement, budgets_, nullptr);
      QUERN_TRY(fit, LayerChooser(subject_, budgets_).choose(by_memory));
    }
    return placement.choice == Placement::Choice::kFastest ? faster(std::move(fit)) : fit;
  }

  // The same without devices, if it fits and is predicted to be faster.
  Result<Fit> faster(Fit fit) const {
    if (!subject_.speeds) return fit;
    EngineOptions options = fit.plan.options;
    options.placement.layers = 0;
    Fit alone;
    QUERN_TRY(alone.plan, plan(subject_, options));
    const auto with = predict_speed(subject_.model, fit.plan.options, *subject_.speeds, 0);
    const auto without = predict_speed(subject_.model, options, *subject_.speeds, 0);
    if (!with || !without || !alone.plan.fits(budgets_)) return fit;
    if (with->decode >= without->decode) return fit;
    alone.changes = {fmt::format("no layers on devices: {:.3g} t/s on the CPU, {:.3g} with them",
                                 without->decode, with->decode)};
    return alone;
  }

  // The longest context of whole blocks, at most that of `options`, within the budgets.
  Result<uint32_t> longest_context(EngineOptions options) const {
    QUERN_TRY(const uint32_t blocks,
              largest(options.context / kernels::kBlockPositions, [&](uint32_t n) {
                options.context = n * kernels::kBlockPositions;
                return fits(options);
              }));
    return blocks * kernels::kBlockPositions;
  }

 private:
  Result<bool> fits(const EngineOptions& options) const {
    QUERN_TRY(const Fit fit, at(options));
    return fit.plan.fits(budgets_);
  }

  const PlanSubject& subject_;
  const Budgets& budgets_;
};

// The model with its matrices quantized as `mix`.
struct Requantized {
  Model model;
  uint64_t file_bytes;
};
Requantized requantize(const PlanSubject& subject, const Mix& mix) {
  const Config& config = subject.model.config;
  std::vector<MixTensor> tensors;
  for (const gguf::TensorView& tensor : subject.file.tensors()) {
    tensors.push_back({tensor.name, tensor.shape});
  }
  const auto formats =
      apply_mix(mix,
                {.architecture = config.architecture,
                 .layers = config.layers,
                 .queries_per_key = static_cast<uint32_t>(
                     config.heads[0] / std::max<uint64_t>(1, std::ranges::max(config.kv_heads))),
                 .experts = config.experts},
                tensors);
  Requantized result{subject.model, subject.file.size_bytes()};
  std::map<std::string_view, gguf::Format> chosen;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const gguf::TensorView& tensor = subject.file.tensors()[i];
    const gguf::Format format = formats[i].value_or(tensor.format);
    result.file_bytes -= tensor.bytes.size();
    result.file_bytes += gguf::info(format).row_bytes(tensor.row_values()) * tensor.rows();
    chosen[tensor.name] = format;
  }
  for (kernels::WeightInfo& weight : result.model.program.weights) {
    const auto found = chosen.find(weight.name);
    if (found != chosen.end()) weight.format = found->second;
  }
  return result;
}

std::optional<Speed> speed(const PlanSubject& subject, const EngineOptions& resolved,
                           uint32_t positions) {
  if (!subject.speeds) return std::nullopt;
  return predict_speed(subject.model, resolved, *subject.speeds, positions);
}

Status add(std::vector<Alternative>& all, std::string name, const PlanSubject& subject,
           const EngineOptions& options) {
  QUERN_TRY(MemoryPlan planned, plan(subject, options));
  const EngineOptions& resolved = planned.options;
  const auto empty = speed(subject, resolved, 0);
  const auto half = speed(subject, resolved, resolved.context / 2);
  all.push_back({std::move(name), std::move(planned), empty, half});
  return {};
}

}  // namespace

std::string_view cache_name(CacheType type) {
  return std::ranges::find(kCaches, type, &CacheName::type)->name;
}

std::vector<double> device_shares(const Placement& placement, const Budgets& budgets,
                                  const MachineSpeeds* speeds) {
  const std::vector<std::string>& names = placement.devices;
  if (names.size() < 2) return {};
  std::vector<double> memory, rates;
  for (size_t i = 0; i < names.size(); ++i) {
    const bool limited = i < budgets.devices.size() && budgets.devices[i] != Budgets::kAnything;
    memory.push_back(limited ? static_cast<double>(budgets.devices[i]) : 0);
    rates.push_back(speeds ? best_rate(*speeds, names[i]) : 0);
  }
  const auto known = [](const std::vector<double>& all) {
    return std::ranges::all_of(all, [](double value) { return value > 0; });
  };
  std::vector<double> shares(names.size(), 1);
  for (size_t i = 0; i < names.size(); ++i) {
    if (known(memory)) shares[i] *= memory[i];
    if (known(rates)) shares[i] *= rates[i];
  }
  return shares;
}

Result<std::optional<Fit>> fit_memory(const PlanSubject& subject, const EngineOptions& options,
                                      const Budgets& budgets, Freedom freedom) {
  const Fitter fitter(subject, budgets);
  QUERN_TRY(Fit fit, fitter.at(options));
  if (fit.plan.fits(budgets)) return fit;
  EngineOptions asked = options, changed = options;
  asked.context = changed.context = fit.plan.options.context;
  if (freedom.cache && options.cache != CacheType::kQ8_0) {
    changed.cache = CacheType::kQ8_0;
    QUERN_TRY(fit, fitter.at(changed));
  }
  if (freedom.context && !fit.plan.fits(budgets)) {
    QUERN_TRY(changed.context, fitter.longest_context(changed));
    if (changed.context < kSmallestContext) return std::nullopt;
    QUERN_TRY(fit, fitter.at(changed));
  }
  if (!fit.plan.fits(budgets)) return std::nullopt;
  if (changed.cache != asked.cache) {
    fit.changes.push_back(
        fmt::format("key/value cache q8_0 instead of {}", cache_name(asked.cache)));
  }
  if (changed.context != asked.context) {
    fit.changes.push_back(fmt::format("context {} instead of {}", changed.context, asked.context));
  }
  return fit;
}

Result<std::vector<Alternative>> other_contexts(const PlanSubject& subject,
                                                const MemoryPlan& asked) {
  std::vector<Alternative> all;
  EngineOptions options = asked.options;
  const uint32_t longest = std::min(subject.model.config.context, subject.model.max_positions);
  for (uint64_t context = 2048; context < longest; context *= 4) {
    options.context = static_cast<uint32_t>(context);
    QUERN_CHECK(add(all, fmt::format("{}", context), subject, options));
  }
  options.context = longest;
  QUERN_CHECK(add(all, fmt::format("{} (trained)", longest), subject, options));
  return all;
}

Result<std::vector<Alternative>> other_caches(const PlanSubject& subject, const MemoryPlan& asked) {
  std::vector<Alternative> all;
  for (const CacheName& cache : kCaches) {
    EngineOptions options = asked.options;
    options.cache = cache.type;
    QUERN_CHECK(add(all, cache.name, subject, options));
  }
  return all;
}

Result<std::vector<Alternative>> other_quantizations(const PlanSubject& subject,
                                                     const MemoryPlan& asked) {
  std::vector<Alternative> all;
  for (const std::string_view name : kUsualMixes) {
    const Requantized other = requantize(subject, *find_mix(name));
    const PlanSubject changed{subject.file,    other.model,      subject.access,
                              subject.devices, other.file_bytes, subject.speeds};
    QUERN_CHECK(add(all, std::string(name), changed, asked.options));
  }
  return all;
}

}  // namespace quern::engine

#include "engine/plan_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

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

struct Planner {
  const gguf::File& file;
  const Model& model;
  gguf::OpenOptions::Access access;

  MemoryPlan plan(const EngineOptions& options) const {
    return plan_memory(file, model, options, access);
  }
  uint64_t peak(EngineOptions options, uint32_t context) const {
    options.context = context;
    return plan(options).host().peak();
  }
  // The longest context of whole blocks, at most that of `options`, within the budget; 0 if none.
  uint32_t longest_context(const EngineOptions& options, uint64_t budget) const {
    uint32_t fits = 0, too_long = options.context / kernels::kBlockPositions + 1;
    while (fits + 1 < too_long) {
      const uint32_t middle = fits + (too_long - fits) / 2;
      (peak(options, middle * kernels::kBlockPositions) <= budget ? fits : too_long) = middle;
    }
    return fits * kernels::kBlockPositions;
  }
};

// Bytes of the tensors if the model were quantized as `mix`.
uint64_t quantized_bytes(const gguf::File& file, const Config& config, const Mix& mix) {
  std::vector<MixTensor> tensors;
  for (const gguf::TensorView& tensor : file.tensors()) {
    tensors.push_back({tensor.name, tensor.shape});
  }
  const MixSubject subject{
      .architecture = config.architecture,
      .layers = config.layers,
      .queries_per_key = static_cast<uint32_t>(config.heads[0] / config.kv_heads[0]),
      .experts = config.experts};
  const auto formats = apply_mix(mix, subject, tensors);
  uint64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const gguf::TensorView& tensor = file.tensors()[i];
    const gguf::Format format = formats[i].value_or(tensor.format);
    bytes += gguf::info(format).row_bytes(tensor.row_values()) * tensor.rows();
  }
  return bytes;
}

}  // namespace

std::string_view cache_name(CacheType type) {
  return std::ranges::find(kCaches, type, &CacheName::type)->name;
}

std::optional<Fit> fit_memory(const gguf::File& file, const Model& model,
                              const EngineOptions& options, gguf::OpenOptions::Access access,
                              uint64_t budget, Freedom freedom) {
  const Planner planner{file, model, access};
  Fit fit{planner.plan(options), {}};
  const EngineOptions asked = fit.plan.options;
  const auto fits = [&] { return fit.plan.host().peak() <= budget; };
  if (!fits() && freedom.cache && asked.cache != CacheType::kQ8_0) {
    EngineOptions smaller = asked;
    smaller.cache = CacheType::kQ8_0;
    fit = {planner.plan(smaller),
           {fmt::format("key/value cache q8_0 instead of {}", cache_name(asked.cache))}};
  }
  if (!fits() && freedom.context) {
    EngineOptions shorter = fit.plan.options;
    shorter.context = planner.longest_context(shorter, budget);
    if (shorter.context < kSmallestContext) return std::nullopt;
    fit.plan = planner.plan(shorter);
    fit.changes.push_back(fmt::format("context {} instead of {}", shorter.context, asked.context));
  }
  if (!fits()) return std::nullopt;
  return fit;
}

std::vector<Alternative> other_contexts(const gguf::File& file, const Model& model,
                                        const MemoryPlan& plan) {
  const Planner planner{file, model, plan.access};
  std::vector<Alternative> all;
  EngineOptions options = plan.options;
  const uint64_t weights = file.size_bytes();
  for (uint64_t context = 2048; context < model.config.context; context *= 4) {
    options.context = static_cast<uint32_t>(context);
    all.push_back(
        {fmt::format("{}", context), planner.plan(options).host().peak(), weights, options});
  }
  options.context = model.config.context;
  all.push_back({fmt::format("{} (trained)", options.context), planner.plan(options).host().peak(),
                 weights, options});
  return all;
}

std::vector<Alternative> other_caches(const gguf::File& file, const Model& model,
                                      const MemoryPlan& plan) {
  const Planner planner{file, model, plan.access};
  std::vector<Alternative> all;
  for (const CacheName& cache : kCaches) {
    EngineOptions options = plan.options;
    options.cache = cache.type;
    all.push_back({cache.name, planner.plan(options).host().peak(), file.size_bytes(), options});
  }
  return all;
}

std::vector<Alternative> other_quantizations(const gguf::File& file, const Model& model,
                                             const MemoryPlan& plan) {
  const uint64_t present = plan.weight_bytes();
  uint64_t tensors = 0;
  for (const gguf::TensorView& tensor : file.tensors()) tensors += tensor.bytes.size();
  std::vector<Alternative> all;
  for (const std::string_view name : kUsualMixes) {
    const uint64_t weights =
        present - tensors + quantized_bytes(file, model.config, *find_mix(name));
    all.push_back(
        {std::string(name), plan.host().peak() - present + weights, weights, plan.options});
  }
  return all;
}

}  // namespace quern::engine

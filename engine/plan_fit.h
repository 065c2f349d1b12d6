// What else would fit: the plan nearest to the one asked for, and other contexts, cache types and
// quantizations.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/memory_plan.h"
#include "engine/mix.h"

namespace quern::engine {

std::string_view cache_name(kernels::CacheType type);  // "f16"

// What may be changed to make a plan fit: what the user has not asked for.
struct Freedom {
  bool context, cache;
};

struct Fit {
  MemoryPlan plan;
  std::vector<std::string> changes;  // against what was asked for, one phrase each
};

// The plan as asked for if its peak is within `budget` bytes; else with the cache as q8_0; else
// with the longest context, of at least kSmallestContext, that fits. nullopt if nothing does.
inline constexpr uint32_t kSmallestContext = 512;
std::optional<Fit> fit_memory(const gguf::File& file, const Model& model,
                              const EngineOptions& options, gguf::OpenOptions::Access access,
                              uint64_t budget, Freedom freedom);

// The plan's options with one of them changed.
struct Alternative {
  std::string name;  // "4096", "q8_0", "Q3_K_M"
  uint64_t peak;     // bytes
  uint64_t weights;  // bytes of the file, estimated for other quantizations
  EngineOptions options;
};
std::vector<Alternative> other_contexts(const gguf::File& file, const Model& model,
                                        const MemoryPlan& plan);
std::vector<Alternative> other_caches(const gguf::File& file, const Model& model,
                                      const MemoryPlan& plan);
// The usual quantizations of the same model; what the file would be if it were converted.
std::vector<Alternative> other_quantizations(const gguf::File& file, const Model& model,
                                             const MemoryPlan& plan);

}  // namespace quern::engine

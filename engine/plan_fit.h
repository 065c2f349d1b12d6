// What else would fit: the plan nearest to the one asked for, and other contexts, cache types and
// quantizations.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/memory_plan.h"
#include "engine/mix.h"
#include "engine/plan_speed.h"

namespace quern::engine {

std::string_view cache_name(kernels::CacheType type);  // "f16"

// What is planned, in one way or another, and for which machine.
struct PlanSubject {
  const gguf::File& file;
  const Model& model;
  gguf::OpenOptions::Access access = gguf::OpenOptions::Access::kMap;
  std::vector<DeviceProfile> devices = {};  // of the placement, in its order
  uint64_t file_bytes = 0;                  // what the file would be; 0: what it is
  const MachineSpeeds* speeds = nullptr;    // null: not known
};

// Shares for Placement::shares: in proportion to the memory of the devices and, where `speeds`
// knows all of them, to what they read per second. None for fewer than two devices.
std::vector<double> device_shares(const Placement& placement, const Budgets& budgets,
                                  const MachineSpeeds* speeds);

// What may be changed to make a plan fit: what the user has not asked for.
struct Freedom {
  bool context, cache;
};

struct Fit {
  MemoryPlan plan;
  std::vector<std::string> changes;  // against what was asked for, one phrase each
};

// The plan as asked for if it is within the budgets; else, where the placement leaves the choice,
// with fewer experts, then fewer layers on the devices; else with the cache as q8_0, too; else with
// the longest context, of at least kSmallestContext, that fits. nullopt if nothing does. Errors:
// those of plan_memory.
inline constexpr uint32_t kSmallestContext = 512;
Result<std::optional<Fit>> fit_memory(const PlanSubject& subject, const EngineOptions& options,
                                      const Budgets& budgets, Freedom freedom);

// The plan with one of its options changed.
struct Alternative {
  std::string name;  // "4096", "q8_0", "Q3_K_M"
  MemoryPlan plan;
  std::optional<Speed> empty, half;  // with an empty and with a half full context
};
Result<std::vector<Alternative>> other_contexts(const PlanSubject& subject, const MemoryPlan& plan);
Result<std::vector<Alternative>> other_caches(const PlanSubject& subject, const MemoryPlan& plan);
// The usual quantizations of the same model; what the file would be if it were converted.
Result<std::vector<Alternative>> other_quantizations(const PlanSubject& subject,
                                                     const MemoryPlan& plan);

}  // namespace quern::engine

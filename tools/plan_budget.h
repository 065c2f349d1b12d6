// The memory that a model may take, and what happens when it wants more.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/plan_fit.h"

namespace quern::tools {

struct MemoryBudget {
  uint64_t bytes;
  std::string source;  // "given by --ram", "free on the machine"
};

// `ram` bytes if that is not 0; else what the system has left, less some headroom for everything
// else. nullopt where the system does not say.
std::optional<MemoryBudget> memory_budget(uint64_t ram);

// The same for a device's memory; the headroom is for what its screen shows.
std::optional<MemoryBudget> device_budget(const engine::DeviceProfile& device, uint64_t vram);

// How a model is to be run, and what the user left open.
struct PlanRequest {
  engine::EngineOptions engine;
  gguf::OpenOptions::Access access = gguf::OpenOptions::Access::kMap;
  engine::Freedom freedom = {true, true};
  std::vector<engine::DeviceProfile> devices = {};  // of the placement
  std::optional<MemoryBudget> budget = memory_budget(0);
  std::vector<std::optional<MemoryBudget>> device_budgets = {};  // of the placement's devices
  std::optional<engine::MachineSpeeds> speeds = {};
  bool force = false;  // run what does not fit, too: with mapped weights, where packed do not fit

  engine::Budgets budgets() const;
  engine::PlanSubject subject(const gguf::File& file, const engine::Model& model) const;
};

// Finds the devices of the request's placement on this machine, and their budgets. Errors: those of
// engine::describe_device.
Status find_devices(PlanRequest& request, uint64_t vram);

// Fills in this machine's speeds where the placement asks for the fastest choice (--gpu-layers
// auto), which may take seconds the first time. Errors: those of this_machine.
Status find_speeds(PlanRequest& request, const engine::Model& model);

// Shares the layers out among several devices, by their memory and by their speeds, if known.
void share_layers(PlanRequest& request);

// The plan to run `model` by: within the budgets, or an error that names the nearest one that would
// be. Errors: "memory-budget", and those of plan_memory.
Result<engine::Fit> plan_within_budget(const gguf::File& file, const engine::Model& model,
                                       const PlanRequest& request);

// engine::leave_out_missing, which says its sentence on standard error.
Status say_missing_devices(engine::Placement& placement);

// What a command that measures or computes a model as it was asked to does before it loads it:
// refuses what does not fit, unless `force`, and chooses the layers that --device left open.
// Errors: those of plan_within_budget.
Status place_within_budget(const gguf::File& file, engine::EngineOptions& options, bool force);

}  // namespace quern::tools

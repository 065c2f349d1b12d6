#include "tools/plan_budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "engine/devices.h"
#include "kernels/system_memory.h"
#include "tools/machine_file.h"
#include "tools/sizes.h"

namespace quern::tools {
namespace {

// Left to the system and to other programs: a twentieth of the machine, at most this.
constexpr uint64_t kMostHeadroom = 512 << 20;

// "1.20 GiB and 3.10 GiB on vulkan:0"
std::string needs(const engine::MemoryPlan& plan) {
  std::string text = size_text(plan.host_peak());
  for (size_t i = 1; i < plan.heaps.size(); ++i) {
    const engine::HeapPlan& heap = plan.heaps[i];
    if (heap.terms.empty() || (heap.in_host && !heap.too_large_at_once())) continue;
    text += fmt::format(" and {} on {}", size_text(heap.peak()), heap.name);
    if (!heap.too_large_at_once()) continue;
    text += fmt::format(", {} of it at once where only {} are possible", size_text(heap.largest),
                        size_text(heap.max_allocation));
  }
  return text;
}

// What there is: "4.00 GiB are free in this machine, 2.00 GiB are given by --vram".
std::string given(const PlanRequest& request) {
  std::string text;
  const auto add = [&](const std::optional<MemoryBudget>& budget) {
    if (!budget) return;
    text += fmt::format("{}{} are {}", text.empty() ? "" : ", ", size_text(budget->bytes),
                        budget->source);
  };
  add(request.budget);
  for (const auto& device : request.device_budgets) add(device);
  return text;
}

// "--ctx 2048 --kv q8_0 --gpu-layers 7 needs 1.20 GiB"
std::string command(const engine::EngineOptions& options) {
  std::string text =
      fmt::format("--ctx {} --kv {}", options.context, engine::cache_name(options.cache));
  const engine::Placement& placement = options.placement;
  if (!placement.devices.empty() && placement.layers != engine::Placement::kEverything) {
    text += fmt::format(" --gpu-layers {}", placement.layers);
  }
  return text;
}

Result<std::string> nearest(const engine::PlanSubject& subject, const PlanRequest& request) {
  const engine::Budgets limits = request.budgets();
  engine::EngineOptions free = request.engine;
  free.placement.choice = engine::Placement::Choice::kWhatFits;
  QUERN_TRY(const auto fit, fit_memory(subject, free, limits, {true, true}));
  if (fit) return fmt::format("{} needs {}", command(fit->plan.options), needs(fit->plan));
  engine::EngineOptions smallest = request.engine;
  const uint32_t asked = smallest.context;
  if (asked == 0 || asked > engine::kSmallestContext) smallest.context = engine::kSmallestContext;
  smallest.cache = kernels::CacheType::kQ8_0;
  QUERN_TRY(const auto plan,
            plan_memory(subject.file, subject.model, smallest, subject.access, subject.devices));
  std::string text = fmt::format("even {} needs {}", command(plan.options), needs(plan));
  QUERN_TRY(const auto others, other_quantizations(subject, plan));
  const auto fits =
      std::ranges::find_if(others, [&](const auto& other) { return other.plan.fits(limits); });
  if (fits != others.end()) {
    text += fmt::format("; with that, a {} file of this model would need {}", fits->name,
                        needs(fits->plan));
  }
  return text;
}

// The plan that was asked for. Where the host has no room for packed copies of the weights they
// stay in the mapped file, whose pages the system can drop.
Result<engine::Fit> forced(engine::MemoryPlan asked, const engine::PlanSubject& subject,
                           const PlanRequest& request) {
  engine::Fit fit{std::move(asked), {}};
  const bool packs = fit.plan.host().bytes("packed weights") > 0;
  if (!packs || fit.plan.host_peak() <= request.budgets().host) return fit;
  fit.changes.push_back(
      fmt::format("weights stay in the mapped file: packed, which is faster, this needs {}, {}",
                  needs(fit.plan), given(request)));
  engine::EngineOptions mapped = request.engine;
  mapped.weights = kernels::WeightHome::kMapped;
  QUERN_TRY(fit.plan,
            plan_memory(subject.file, subject.model, mapped, subject.access, subject.devices));
  return fit;
}

uint64_t less_headroom(uint64_t bytes, uint64_t total) {
  return bytes - std::min(std::min(total / 20, kMostHeadroom), bytes);
}

// The address space that drivers leave, where that is less than the budget.
void leave_address_space(PlanRequest& request) {
  const auto room = kernels::address_space_room();
  const auto is_gpu = [](const std::string& name) { return name != engine::kReferenceDevice; };
  if (!room || std::ranges::none_of(request.engine.placement.devices, is_gpu)) return;
  const uint64_t rest = *room - std::min(*room, engine::driver_address_space());
  if (request.budget && request.budget->bytes <= rest) return;
  request.budget = MemoryBudget{rest, "free in its address space (ulimit -v)"};
}

}  // namespace

engine::Budgets PlanRequest::budgets() const {
  engine::Budgets all;
  if (budget) all.host = budget->bytes;
  for (const auto& device : device_budgets) {
    all.devices.push_back(device ? device->bytes : engine::Budgets::kAnything);
  }
  return all;
}

engine::PlanSubject PlanRequest::subject(const gguf::File& file, const engine::Model& model) const {
  return {file, model, access, devices, 0, speeds ? &*speeds : nullptr};
}

std::optional<MemoryBudget> memory_budget(uint64_t ram) {
  if (ram > 0) return MemoryBudget{ram, "given by --ram"};
  const auto memory = kernels::system_memory();
  if (!memory) return std::nullopt;
  return MemoryBudget{less_headroom(memory->available, memory->total), "free in " + memory->limit};
}

std::optional<MemoryBudget> device_budget(const engine::DeviceProfile& device, uint64_t vram) {
  if (device.name == engine::kReferenceDevice) return std::nullopt;
  if (vram > 0) return MemoryBudget{vram, "given by --vram"};
  if (device.memory == 0) return std::nullopt;
  const uint64_t free = device.in_host ? device.free : less_headroom(device.free, device.memory);
  return MemoryBudget{free, "free on " + device.name};
}

Status find_devices(PlanRequest& request, uint64_t vram) {
  leave_address_space(request);
  request.devices.clear();
  request.device_budgets.clear();
  for (const std::string& name : request.engine.placement.devices) {
    QUERN_TRY(engine::DeviceProfile device, engine::describe_device(name));
    request.device_budgets.push_back(device_budget(device, vram));
    request.devices.push_back(std::move(device));
  }
  return {};
}

Result<engine::Fit> plan_within_budget(const gguf::File& file, const engine::Model& model,
                                       const PlanRequest& request) {
  const engine::PlanSubject subject = request.subject(file, model);
  const engine::Budgets limits = request.budgets();
  engine::Fit asked;
  QUERN_TRY(asked.plan, plan_memory(file, model, request.engine, request.access, request.devices));
  const bool fastest = request.engine.placement.choice == engine::Placement::Choice::kFastest;
  if (request.force) return forced(std::move(asked.plan), subject, request);
  if (asked.plan.fits(limits) && !fastest) return asked;
  QUERN_TRY(auto fit, fit_memory(subject, request.engine, limits, request.freedom));
  if (fit) {
    if (asked.plan.fits(limits)) return std::move(*fit);
    fit->changes.back() +=
        fmt::format(": as asked it would need {}, {}", needs(asked.plan), given(request));
    return std::move(*fit);
  }
  QUERN_TRY(const std::string other, nearest(subject, request));
  auto error = fail(ErrorKind::kFailure, "memory-budget",
                    fmt::format("this needs {} of memory, {}; {}; --force tries it anyway",
                                needs(asked.plan), given(request), other));
  error.value().path = file.path();
  return error;
}

void share_layers(PlanRequest& request) {
  request.engine.placement.shares = device_shares(request.engine.placement, request.budgets(),
                                                  request.speeds ? &*request.speeds : nullptr);
}

Status find_speeds(PlanRequest& request, const engine::Model& model) {
  share_layers(request);
  const engine::Placement& placement = request.engine.placement;
  const bool fastest = placement.choice == engine::Placement::Choice::kFastest;
  if (!fastest || placement.devices.empty()) return {};
  // A layer may end up anywhere, so that every device is asked about every format.
  QUERN_TRY(auto formats, formats_needed(model, {}));
  formats.resize(request.devices.size() + 1, formats[0]);
  QUERN_TRY(Machine machine, this_machine({.threads = request.engine.threads,
                                           .devices = placement.devices,
                                           .formats = std::move(formats)}));
  request.speeds = std::move(machine.speeds);
  share_layers(request);
  return {};
}

Status say_missing_devices(engine::Placement& placement) {
  QUERN_TRY(const std::string missing, engine::leave_out_missing(placement));
  if (!missing.empty()) std::fprintf(stderr, "quern: warning: %s\n", missing.c_str());
  return {};
}

Status place_within_budget(const gguf::File& file, engine::EngineOptions& options, bool force) {
  QUERN_TRY(const engine::Model model, engine::read_model(file));
  QUERN_CHECK(say_missing_devices(options.placement));
  PlanRequest request{.engine = options, .freedom = {false, false}, .force = force};
  QUERN_CHECK(find_devices(request, 0));
  QUERN_CHECK(find_speeds(request, model));
  QUERN_TRY(const engine::Fit fit, plan_within_budget(file, model, request));
  for (const std::string& change : fit.changes) {
    std::fprintf(stderr, "quern: %s\n", change.c_str());
  }
  options.placement = fit.plan.options.placement;
  options.weights = fit.plan.options.weights;
  return {};
}

}  // namespace quern::tools

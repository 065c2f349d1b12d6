#include "tools/plan_budget.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/system_memory.h"
#include "tools/sizes.h"

namespace quern::tools {
namespace {

// Left to the system and to other programs: a twentieth of the machine, at most this.
constexpr uint64_t kMostHeadroom = 512 << 20;

// "--ctx 2048 --kv q8_0 needs 1.20 GiB"
std::string nearest(const gguf::File& file, const engine::Model& model,
                    const PlanRequest& request) {
  const uint64_t budget = request.budget->bytes;
  const auto command = [](const engine::EngineOptions& options) {
    return fmt::format("--ctx {} --kv {}", options.context, engine::cache_name(options.cache));
  };
  if (const auto fit =
          fit_memory(file, model, request.engine, request.access, budget, {true, true})) {
    return fmt::format("{} needs {}", command(fit->plan.options),
                       size_text(fit->plan.host().peak()));
  }
  engine::EngineOptions smallest = request.engine;
  smallest.context = engine::kSmallestContext;
  smallest.cache = kernels::CacheType::kQ8_0;
  const auto plan = plan_memory(file, model, smallest, request.access);
  std::string text =
      fmt::format("even {} needs {}", command(smallest), size_text(plan.host().peak()));
  const auto others = other_quantizations(file, model, plan);
  const auto fits = std::ranges::find_if(others, [&](const auto& o) { return o.peak <= budget; });
  if (fits != others.end()) {
    text += fmt::format("; with that, a {} file of this model would need {}", fits->name,
                        size_text(fits->peak));
  }
  return text;
}

}  // namespace

std::optional<MemoryBudget> memory_budget(uint64_t ram) {
  if (ram > 0) return MemoryBudget{ram, "given by --ram"};
  const auto memory = kernels::system_memory();
  if (!memory) return std::nullopt;
  const uint64_t headroom = std::min(memory->total / 20, kMostHeadroom);
  return MemoryBudget{memory->available - std::min(headroom, memory->available),
                      "free in " + memory->limit};
}

Result<engine::Fit> plan_within_budget(const gguf::File& file, const engine::Model& model,
                                       const PlanRequest& request) {
  const auto& budget = request.budget;
  engine::Fit asked{plan_memory(file, model, request.engine, request.access), {}};
  if (!budget || request.force || asked.plan.host().peak() <= budget->bytes) return asked;
  if (auto fit =
          fit_memory(file, model, request.engine, request.access, budget->bytes, request.freedom)) {
    fit->changes.back() +=
        fmt::format(": as asked it would need {}, {} are {}", size_text(asked.plan.host().peak()),
                    size_text(budget->bytes), budget->source);
    return std::move(*fit);
  }
  auto error = fail(ErrorKind::kFailure, "memory-budget",
                    fmt::format("this needs {} of memory, {} are {}; {}; --force tries it anyway",
                                size_text(asked.plan.host().peak()), size_text(budget->bytes),
                                budget->source, nearest(file, model, request)));
  error.value().path = file.path();
  return error;
}

}  // namespace quern::tools

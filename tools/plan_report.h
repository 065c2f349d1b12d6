// A memory plan as a table for people and as JSON (docs/plan-schema.json).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/plan_fit.h"
#include "engine/plan_speed.h"
#include "tools/plan_budget.h"

namespace quern::tools {

// One way to run the model.
struct PlanRow {
  std::string name;
  uint64_t peak;  // bytes
  bool fits;
  std::optional<engine::Speed> speed;  // with the context half full; if the machine is known
};

struct PlanReport {
  std::string model;  // its name, safe to print
  engine::MemoryPlan plan;
  std::vector<std::string> changes;  // against what was asked for
  std::optional<MemoryBudget> budget;
  std::optional<engine::Speed> empty, full;  // speeds with an empty and with a full context
  std::vector<PlanRow> contexts, caches, quantizations;
};

PlanReport make_report(const gguf::File& file, const engine::Model& model, const engine::Fit& fit,
                       const std::optional<MemoryBudget>& budget,
                       const std::optional<engine::MachineSpeeds>& machine);

std::string plan_text(const PlanReport& report);
std::string plan_json(const PlanReport& report);

// The terms of a plan alone, with a bar.
std::string plan_table(const engine::MemoryPlan& plan, const std::optional<MemoryBudget>& budget);

// Rows as a table.
std::string row_table(std::string_view title, const std::vector<PlanRow>& rows);

}  // namespace quern::tools

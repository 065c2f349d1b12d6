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
  uint64_t peak;         // bytes of the host
  uint64_t device_peak;  // and of devices with memory of their own
  bool fits;
  std::optional<engine::Speed> speed;  // with the context half full; if the machine is known
};

struct PlanReport {
  std::string model;  // its name, safe to print
  engine::MemoryPlan plan;
  std::vector<std::string> changes;  // against what was asked for
  PlanRequest request;
  bool fits;
  std::optional<engine::Speed> empty, full;  // speeds with an empty and with a full context
  std::vector<PlanRow> contexts, caches, quantizations;
};

Result<PlanReport> make_report(const gguf::File& file, const engine::Model& model,
                               const engine::Fit& fit, const PlanRequest& request);

std::string plan_text(const PlanReport& report);
std::string plan_json(const PlanReport& report);

// The terms of a plan alone: a table and a bar for each heap, and where the layers are.
std::string plan_table(const engine::MemoryPlan& plan, const PlanRequest& request);

// Rows as a table, and as JSON: {"models": ROWS} with rows as plan_json has them.
std::string row_table(std::string_view title, const std::vector<PlanRow>& rows);
std::string ranking_json(const std::vector<PlanRow>& rows);

}  // namespace quern::tools

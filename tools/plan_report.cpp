#include "tools/plan_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tools/sizes.h"

namespace quern::tools {
namespace {

using Json = nlohmann::ordered_json;

bool fits(uint64_t peak, const std::optional<MemoryBudget>& budget) {
  return !budget || peak <= budget->bytes;
}

// What the memory is taken by, 60 characters for the budget: weights #, cache =, the rest +.
std::string bar(const engine::MemoryPlan& plan, const std::optional<MemoryBudget>& budget) {
  constexpr double kWidth = 60;
  const engine::HeapPlan& host = plan.host();
  const uint64_t whole = std::max(host.peak(), budget ? budget->bytes : 0);
  std::string text;
  uint64_t sum = 0;
  const auto part = [&](char c, uint64_t bytes) {
    sum += bytes;
    const double end = std::round(kWidth * static_cast<double>(sum) / static_cast<double>(whole));
    text.resize(std::max(text.size(), static_cast<size_t>(end)), c);
  };
  const uint64_t weights = plan.weight_bytes(), cache = plan.cache_bytes();
  part('#', weights);
  part('=', cache);
  part('+', host.peak() - weights - cache);
  part('.', whole - host.peak());
  std::string mark;
  if (budget && budget->bytes < whole) {
    const double at = kWidth * static_cast<double>(budget->bytes) / static_cast<double>(whole);
    mark = fmt::format("  {:>{}} budget\n", '^', static_cast<int>(at) + 2);
  }
  return fmt::format("  [{}]\n{}  # weights  = key/value cache  + everything else{}\n", text, mark,
                     text.ends_with('.') ? "  . free" : "");
}

std::string formula(const engine::MemoryPlan& plan) {
  std::string text;
  for (const engine::CacheTerms& t : plan.cache_terms) {
    text += fmt::format(
        "  {} layers x {} heads x ({} + {}) values x {} bytes x {} positions = {}\n", t.layers,
        t.kv_heads, t.key_width, t.value_width, t.bytes_per_value, t.positions, size_text(t.bytes));
  }
  return text;
}

std::string speed_text(const engine::Speed& speed) {
  const auto range = [](double value) {
    return fmt::format("{:.3g} to {:.3g}", value * (1 - engine::kSpeedInterval),
                       value * (1 + engine::kSpeedInterval));
  };
  return fmt::format("decode {} t/s, prefill {} t/s", range(speed.decode), range(speed.prefill));
}

std::vector<PlanRow> rows_of(const engine::Model& model, const engine::MemoryPlan& plan,
                             const std::vector<engine::Alternative>& alternatives,
                             const std::optional<MemoryBudget>& budget,
                             const std::optional<engine::MachineSpeeds>& machine) {
  std::vector<PlanRow> rows;
  for (const engine::Alternative& other : alternatives) {
    PlanRow row{other.name, other.peak, fits(other.peak, budget), {}};
    if (machine) {
      engine::TokenWork work = token_work(model, other.options.cache);
      work.weight_bytes *=
          static_cast<double>(other.weights) / static_cast<double>(plan.weight_bytes());
      row.speed = predict_speed(work, *machine, other.options.context / 2);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Json speed_json(const std::optional<engine::Speed>& speed) {
  if (!speed) return nullptr;
  return {{"decode_tokens_per_s", speed->decode}, {"prefill_tokens_per_s", speed->prefill}};
}

Json rows_json(const std::vector<PlanRow>& rows) {
  Json out = Json::array();
  for (const PlanRow& row : rows) {
    out.push_back({{"name", row.name},
                   {"peak_bytes", row.peak},
                   {"fits", row.fits},
                   {"speed", speed_json(row.speed)}});
  }
  return out;
}

Json heap_json(const engine::HeapPlan& heap) {
  Json terms = Json::array();
  for (const engine::PlanTerm& term : heap.terms) {
    terms.push_back({{"name", term.name},
                     {"backing", name(term.backing)},
                     {"bytes", term.bytes},
                     {"transient", term.transient}});
  }
  return {{"name", heap.name},
          {"peak_bytes", heap.peak()},
          {"steady_bytes", heap.steady()},
          {"terms", std::move(terms)}};
}

}  // namespace

PlanReport make_report(const gguf::File& file, const engine::Model& model, const engine::Fit& fit,
                       const std::optional<MemoryBudget>& budget,
                       const std::optional<engine::MachineSpeeds>& machine) {
  PlanReport report;
  report.model = escape(file.text("general.name", file.path()), 256);
  report.plan = fit.plan;
  report.changes = fit.changes;
  report.budget = budget;
  if (machine) {
    const engine::TokenWork work = token_work(model, fit.plan.options.cache);
    report.empty = predict_speed(work, *machine, 0);
    report.full = predict_speed(work, *machine, fit.plan.options.context);
  }
  const auto rows = [&](const std::vector<engine::Alternative>& others) {
    return rows_of(model, fit.plan, others, budget, machine);
  };
  report.contexts = rows(other_contexts(file, model, fit.plan));
  report.caches = rows(other_caches(file, model, fit.plan));
  report.quantizations = rows(other_quantizations(file, model, fit.plan));
  return report;
}

std::string plan_table(const engine::MemoryPlan& plan, const std::optional<MemoryBudget>& budget) {
  const engine::HeapPlan& host = plan.host();
  std::string text = fmt::format("{:<20}{:>11}  {}\n", host.name, "", "backed by");
  for (const engine::PlanTerm& term : host.terms) {
    text += fmt::format("  {:<18}{:>11}  {}{}\n", term.name, size_text(term.bytes),
                        name(term.backing), term.transient ? ", while a prompt is read" : "");
  }
  text += fmt::format("  {:<18}{:>11}  ({} without a long prompt)", "total", size_text(host.peak()),
                      size_text(host.steady()));
  if (budget) {
    text += fmt::format(" of {}, {}: {}", size_text(budget->bytes), budget->source,
                        fits(host.peak(), budget) ? "fits" : "does not fit");
  }
  return text + "\n" + bar(plan, budget);
}

std::string row_table(std::string_view title, const std::vector<PlanRow>& rows) {
  std::string text = fmt::format("\n{:<20}{:>11}  fits", title, "needs");
  const bool speeds =
      std::ranges::any_of(rows, [](const PlanRow& row) { return row.speed.has_value(); });
  text += speeds ? "   decode t/s  prefill t/s\n" : "\n";
  for (const PlanRow& row : rows) {
    text += fmt::format("  {:<18}{:>11}  {:<4}", row.name, size_text(row.peak),
                        row.fits ? "yes" : "no");
    if (row.speed) text += fmt::format("{:>13.3g}{:>13.3g}", row.speed->decode, row.speed->prefill);
    text += '\n';
  }
  return text;
}

std::string plan_text(const PlanReport& report) {
  const engine::EngineOptions& options = report.plan.options;
  std::string text = fmt::format(
      "{}: context {}, cache {}, batch {}, {} threads{}\n", report.model, options.context,
      engine::cache_name(options.cache), options.batch_rows, options.threads,
      options.sequences > 1 ? fmt::format(", {} sequences", options.sequences) : "");
  for (const std::string& change : report.changes) text += fmt::format("  {}\n", change);
  text += "\n" + plan_table(report.plan, report.budget);
  text += "\nkey/value cache\n" + formula(report.plan);
  if (report.empty) {
    text += fmt::format("\nspeed\n  empty context  {}\n  full context   {}\n",
                        speed_text(*report.empty), speed_text(*report.full));
  }
  text += row_table("context", report.contexts) + row_table("cache", report.caches) +
          row_table("quantization", report.quantizations);
  return text;
}

std::string plan_json(const PlanReport& report) {
  const engine::EngineOptions& options = report.plan.options;
  Json layers = Json::array();
  for (const engine::LayerPlan& layer : report.plan.layers) {
    layers.push_back({{"heap", report.plan.heaps[layer.heap].name},
                      {"weight_bytes", layer.weights},
                      {"cache_bytes", layer.cache}});
  }
  Json cache = Json::array();
  for (const engine::CacheTerms& t : report.plan.cache_terms) {
    cache.push_back({{"layers", t.layers},
                     {"kv_heads", t.kv_heads},
                     {"key_width", t.key_width},
                     {"value_width", t.value_width},
                     {"bytes_per_value", t.bytes_per_value},
                     {"positions", t.positions},
                     {"bytes", t.bytes}});
  }
  Json heaps = Json::array();
  for (const engine::HeapPlan& heap : report.plan.heaps) heaps.push_back(heap_json(heap));
  Json budget = nullptr;
  if (report.budget) {
    budget = {{"bytes", report.budget->bytes}, {"source", report.budget->source}};
  }
  const Json out = {{"model", report.model},
                    {"context", options.context},
                    {"cache", engine::cache_name(options.cache)},
                    {"batch", options.batch_rows},
                    {"sequences", options.sequences},
                    {"threads", options.threads},
                    {"changes", report.changes},
                    {"budget", std::move(budget)},
                    {"fits", fits(report.plan.host().peak(), report.budget)},
                    {"heaps", std::move(heaps)},
                    {"layers", std::move(layers)},
                    {"cache_terms", std::move(cache)},
                    {"speed_empty_context", speed_json(report.empty)},
                    {"speed_full_context", speed_json(report.full)},
                    {"speed_interval", engine::kSpeedInterval},
                    {"contexts", rows_json(report.contexts)},
                    {"caches", rows_json(report.caches)},
                    {"quantizations", rows_json(report.quantizations)}};
  return out.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace quern::tools

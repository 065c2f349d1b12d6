#include "tools/plan_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tools/sizes.h"

namespace quern::tools {
namespace {

using Json = nlohmann::ordered_json;

std::string budget_text(uint64_t peak, const std::optional<MemoryBudget>& budget) {
  if (!budget) return {};
  return fmt::format(" of {}, {}: {}", size_text(budget->bytes), budget->source,
                     peak <= budget->bytes ? "fits" : "does not fit");
}

// What a heap is taken by, 60 characters for the budget: weights #, cache =, the rest +.
std::string bar(const engine::HeapPlan& heap, const std::optional<MemoryBudget>& budget) {
  constexpr double kWidth = 60;
  const uint64_t whole = std::max({uint64_t{1}, heap.peak(), budget ? budget->bytes : 0});
  std::string text;
  uint64_t sum = 0;
  const auto part = [&](char c, uint64_t bytes) {
    sum += bytes;
    const double end = std::round(kWidth * static_cast<double>(sum) / static_cast<double>(whole));
    text.resize(std::max(text.size(), static_cast<size_t>(end)), c);
  };
  const uint64_t weights =
      heap.bytes("weights") + heap.bytes("packed weights") + heap.bytes("stacked weights");
  const uint64_t cache = heap.bytes("key/value cache");
  part('#', weights);
  part('=', cache);
  part('+', heap.peak() - weights - cache);
  part('.', whole - heap.peak());
  std::string mark;
  if (budget && budget->bytes < whole) {
    const double at = kWidth * static_cast<double>(budget->bytes) / static_cast<double>(whole);
    mark = fmt::format("  {:>{}} budget\n", '^', static_cast<int>(at) + 2);
  }
  return fmt::format("  [{}]\n{}", text, mark);
}

std::string heap_table(const engine::HeapPlan& heap, std::string_view description,
                       const std::optional<MemoryBudget>& budget) {
  std::string text = fmt::format("{:<20}{:>11}  backed by\n", heap.name, description);
  for (const engine::PlanTerm& term : heap.terms) {
    if (term.bytes == 0) continue;
    text += fmt::format("  {:<18}{:>11}  {}{}\n", term.name, size_text(term.bytes),
                        name(term.backing), term.transient ? ", while a prompt is read" : "");
  }
  text += fmt::format("  {:<18}{:>11}", "total", size_text(heap.peak()));
  if (heap.steady() < heap.peak()) {
    text += fmt::format("  ({} without a long prompt)", size_text(heap.steady()));
  }
  text += budget_text(heap.peak(), budget) + "\n";
  if (heap.max_allocation > 0 && heap.largest > 0) {
    text +=
        fmt::format("  {:<18}{:>11} of {} that the device allocates at once: {}\n",
                    "largest allocation", size_text(heap.largest), size_text(heap.max_allocation),
                    heap.too_large_at_once() ? "does not fit" : "fits");
  }
  return text + bar(heap, budget);
}

// Where each layer's attention and its other half are, a character per layer: "[000111]".
std::string split_picture(const engine::MemoryPlan& plan) {
  std::string attention, other, names;
  bool same = true;
  for (const engine::LayerPlan& layer : plan.layers) {
    attention += fmt::format("{}", layer.heap % 10);
    other += fmt::format("{}", layer.other_heap % 10);
    same = same && layer.heap == layer.other_heap;
  }
  for (size_t i = 0; i < plan.heaps.size(); ++i) {
    names += fmt::format("  {} {}", i, i == 0 ? "cpu" : plan.heaps[i].name);
  }
  if (same) return fmt::format("layers       [{}]\n            {}\n", attention, names);
  return fmt::format("attention    [{}]\nfeed-forward [{}]\n            {}\n", attention, other,
                     names);
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

// ", if memory gives 47.1 GB/s (38.0 to 61.2 in 14 looks)"
std::string memory_text(const engine::MachineSpeeds& speeds) {
  const std::vector<double>& reads = speeds.reads;
  if (reads.empty()) return {};
  const auto [slowest, fastest] = std::ranges::minmax(reads);
  return fmt::format(", if memory gives {:.1f} GB/s ({:.1f} to {:.1f} in {} look{})",
                     speeds.expected_read() / 1e9, slowest / 1e9, fastest / 1e9, reads.size(),
                     reads.size() == 1 ? "" : "s");
}

std::string speed_text(const engine::Speed& speed) {
  const auto text = [](double value, const engine::Speed::Range& range) {
    return fmt::format("{:.3g} t/s ({:.3g} to {:.3g})", value, range.low, range.high);
  };
  return fmt::format("decode {}, prefill {}", text(speed.decode, speed.decode_range),
                     text(speed.prefill, speed.prefill_range));
}

Json speed_json(const std::optional<engine::Speed>& speed) {
  if (!speed) return nullptr;
  const auto interval = [](const engine::Speed::Range& range) {
    return Json::array({range.low, range.high});
  };
  return {{"decode_tokens_per_s", speed->decode},
          {"prefill_tokens_per_s", speed->prefill},
          {"decode_interval", interval(speed->decode_range)},
          {"prefill_interval", interval(speed->prefill_range)}};
}

Json rows_json(const std::vector<PlanRow>& rows) {
  Json out = Json::array();
  for (const PlanRow& row : rows) {
    out.push_back({{"name", row.name},
                   {"peak_bytes", row.peak},
                   {"device_bytes", row.device_peak},
                   {"fits", row.fits},
                   {"speed", speed_json(row.speed)}});
  }
  return out;
}

Json budget_json(const std::optional<MemoryBudget>& budget) {
  if (!budget) return nullptr;
  return {{"bytes", budget->bytes}, {"source", budget->source}};
}

Json heap_json(const engine::HeapPlan& heap, const std::optional<MemoryBudget>& budget) {
  Json terms = Json::array();
  for (const engine::PlanTerm& term : heap.terms) {
    terms.push_back({{"name", term.name},
                     {"backing", name(term.backing)},
                     {"bytes", term.bytes},
                     {"transient", term.transient}});
  }
  return {{"name", heap.name},
          {"in_host_memory", heap.in_host},
          {"budget", budget_json(budget)},
          {"peak_bytes", heap.peak()},
          {"steady_bytes", heap.steady()},
          {"largest_allocation_bytes", heap.largest},
          {"max_allocation_bytes", heap.max_allocation},
          {"terms", std::move(terms)}};
}

}  // namespace

Result<PlanReport> make_report(const gguf::File& file, const engine::Model& model,
                               const engine::Fit& fit, const PlanRequest& request) {
  const engine::PlanSubject subject = request.subject(file, model);
  const engine::Budgets budgets = request.budgets();
  const engine::EngineOptions& options = fit.plan.options;
  PlanReport report{.model = escape(file.text("general.name", file.path()), 256),
                    .plan = fit.plan,
                    .changes = fit.changes,
                    .request = request,
                    .fits = fit.plan.fits(budgets),
                    .empty = {},
                    .full = {},
                    .contexts = {},
                    .caches = {},
                    .quantizations = {}};
  if (request.speeds) {
    report.empty = predict_speed(model, options, *request.speeds, 0);
    report.full = predict_speed(model, options, *request.speeds, options.context);
  }
  const auto rows = [&](const std::vector<engine::Alternative>& others) {
    std::vector<PlanRow> all;
    for (const engine::Alternative& other : others) {
      all.push_back({other.name, other.plan.host_peak(), other.plan.device_peak(),
                     other.plan.fits(budgets), other.half});
    }
    return all;
  };
  QUERN_TRY(const auto contexts, other_contexts(subject, fit.plan));
  QUERN_TRY(const auto caches, other_caches(subject, fit.plan));
  QUERN_TRY(const auto quantizations, other_quantizations(subject, fit.plan));
  report.contexts = rows(contexts);
  report.caches = rows(caches);
  report.quantizations = rows(quantizations);
  return report;
}

std::string plan_table(const engine::MemoryPlan& plan, const PlanRequest& request) {
  std::string text = heap_table(plan.host(), "", request.budget);
  for (size_t i = 1; i < plan.heaps.size(); ++i) {
    if (plan.heaps[i].terms.empty()) continue;
    const auto& budgets = request.device_budgets;
    text += "\n" + heap_table(plan.heaps[i], plan.heaps[i].in_host ? "in host memory" : "",
                              i <= budgets.size() ? budgets[i - 1] : std::nullopt);
  }
  text += "  # weights  = key/value cache  + everything else  . free\n";
  if (plan.heaps.size() == 1) return text;
  if (plan.host_peak() > plan.host().peak()) {
    text += fmt::format("\nhost memory with these devices: {}{}\n", size_text(plan.host_peak()),
                        budget_text(plan.host_peak(), request.budget));
  }
  return text + "\n" + split_picture(plan);
}

std::string row_table(std::string_view title, const std::vector<PlanRow>& rows) {
  const auto any = [&](const auto& has) { return std::ranges::any_of(rows, has); };
  const bool speeds = any([](const PlanRow& row) { return row.speed.has_value(); });
  const bool devices = any([](const PlanRow& row) { return row.device_peak > 0; });
  size_t width = 18;
  for (const PlanRow& row : rows) width = std::max(width, row.name.size());
  std::string text =
      fmt::format("\n{:<{}}{:>11}{}  fits{}\n", title, width + 2, "needs",
                  devices ? "  on devices" : "", speeds ? "   decode t/s  prefill t/s" : "");
  for (const PlanRow& row : rows) {
    text += fmt::format("  {:<{}}{:>11}", row.name, width, size_text(row.peak));
    if (devices) text += fmt::format("{:>12}", size_text(row.device_peak));
    text += fmt::format("  {:<4}", row.fits ? "yes" : "no");
    if (row.speed) text += fmt::format("{:>13.3g}{:>13.3g}", row.speed->decode, row.speed->prefill);
    text += '\n';
  }
  return text;
}

std::string ranking_json(const std::vector<PlanRow>& rows) {
  return Json{{"models", rows_json(rows)}}.dump(2, ' ', true) + "\n";
}

std::string plan_text(const PlanReport& report) {
  const engine::EngineOptions& options = report.plan.options;
  std::string text = fmt::format(
      "{}: context {}, cache {}, batch {}, {} threads{}\n", report.model, options.context,
      engine::cache_name(options.cache), options.batch_rows, options.threads,
      options.sequences > 1 ? fmt::format(", {} sequences", options.sequences) : "");
  for (const std::string& change : report.changes) text += fmt::format("  {}\n", change);
  text += "\n" + plan_table(report.plan, report.request);
  text += "\nkey/value cache\n" + formula(report.plan);
  if (report.empty) {
    text += fmt::format("\nspeed{}\n  empty context  {}\n  full context   {}\n",
                        memory_text(*report.request.speeds), speed_text(*report.empty),
                        speed_text(*report.full));
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
                      {"feed_forward_heap", report.plan.heaps[layer.other_heap].name},
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
  for (size_t i = 0; i < report.plan.heaps.size(); ++i) {
    heaps.push_back(heap_json(report.plan.heaps[i], i == 0 ? report.request.budget
                                                           : report.request.device_budgets[i - 1]));
  }
  const Json out = {{"model", report.model},
                    {"context", options.context},
                    {"cache", engine::cache_name(options.cache)},
                    {"batch", options.batch_rows},
                    {"sequences", options.sequences},
                    {"threads", options.threads},
                    {"changes", report.changes},
                    {"budget", budget_json(report.request.budget)},
                    {"fits", report.fits},
                    {"heaps", std::move(heaps)},
                    {"layers", std::move(layers)},
                    {"cache_terms", std::move(cache)},
                    {"speed_empty_context", speed_json(report.empty)},
                    {"speed_full_context", speed_json(report.full)},
                    {"contexts", rows_json(report.contexts)},
                    {"caches", rows_json(report.caches)},
                    {"quantizations", rows_json(report.quantizations)}};
  return out.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace quern::tools

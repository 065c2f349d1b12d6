#include "bench/result.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "bench/conditions.h"
#include "bench/digest.h"
#include "bench/statistics.h"
#include "engine/memory_plan.h"

namespace quern::bench {
namespace {

using Json = nlohmann::ordered_json;
using kernels::Rows, kernels::Roofline;

Json json(const Interval& interval) { return Json::array({interval.low, interval.high}); }

Json statistics(const std::vector<double>& samples) {
  return {{"median", median(samples)},
          {"mean", mean(samples)},
          {"sd", standard_deviation(samples)},
          {"ci95", json(median_interval(samples))},
          {"samples", samples}};
}

Json milliseconds(std::vector<double> seconds) {
  for (double& value : seconds) value *= 1000;
  return {{"p50", quantile(seconds, 0.5)},
          {"p95", quantile(seconds, 0.95)},
          {"p99", quantile(seconds, 0.99)},
          {"samples", seconds}};
}

Json json(const Work& work) {
  return {{"bytes", work.bytes}, {"int8_ops", work.int8_ops}, {"fp32_ops", work.fp32_ops}};
}

// Calls count(rows) for every step of a test: chunks of a prompt, or one token after another.
template <typename Count>
void for_each_step(const Test& test, uint32_t batch_rows, Count count) {
  const bool decode = test.kind == Test::Kind::kDecode;
  const uint64_t first = decode ? std::max(test.depth, 1u) : test.depth;
  const uint64_t chunk = decode ? 1 : batch_rows;
  for (uint64_t done = 0; done < test.tokens; done += chunk) {
    const uint64_t rows = std::min(chunk, test.tokens - done);
    count(Rows{first + done, rows, decode || done + rows == test.tokens ? 1u : 0u});
  }
}

// Time and work by kind of operation, in the order in which they run.
Json waterfall(const Measured& measured, const engine::Engine& engine) {
  const kernels::Program& program = engine.model().program;
  Test test = measured.test;
  if (test.kind == Test::Kind::kDecode) {
    test.tokens = static_cast<uint32_t>(measured.op_repetition.token_seconds.size());
  }
  std::vector<std::string> order;
  std::map<std::string, std::pair<double, Work>> kinds;
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const std::string kind = label(program.ops[i], program);
    if (!kinds.contains(kind)) order.push_back(kind);
    auto& [seconds, work] = kinds[kind];
    seconds += measured.op_seconds[i];
    for_each_step(test, engine.options().batch_rows, [&](const Rows& rows) {
      work += work_of(program.ops[i], program, engine.options().cache, rows);
    });
  }
  Json rows = Json::array();
  for (const std::string& kind : order) {
    Json row = {{"op", kind}, {"seconds", kinds[kind].first}};
    row.update(json(kinds[kind].second));
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string digest_of_ids(const std::vector<int32_t>& ids) {
  return sha256(std::as_bytes(std::span(ids))).value_or("");
}

// Digest of the ids, and whether every repetition gave the same ones.
void add_digest(const Measured& measured, Json& result) {
  const std::vector<int32_t>& ids = measured.repetitions.front().ids;
  result["token_digest"] = digest_of_ids(ids);
  result["repetitions_agree"] = std::ranges::all_of(
      measured.repetitions, [&](const Repetition& repetition) { return repetition.ids == ids; });
}

void add_times(const Measured& measured, Json& result) {
  std::vector<double> speeds, first_token, tokens;
  for (const Repetition& repetition : measured.repetitions) {
    speeds.push_back(measured.test.tokens / repetition.seconds);
    first_token.push_back(repetition.first_token_seconds);
    tokens.insert(tokens.end(), repetition.token_seconds.begin(), repetition.token_seconds.end());
  }
  const bool decode = measured.test.kind == Test::Kind::kDecode;
  result["tokens_per_second"] = statistics(speeds);
  result["started_s"] = measured.starts;
  result["ttft_ms"] = decode ? Json(nullptr) : milliseconds(first_token);
  result["tpot_ms"] = decode ? milliseconds(tokens) : Json(nullptr);
}

void add_conditions(const Measured& measured, Json& result) {
  result["conditions"] = conditions(measured.moments.front(), measured.moments.back());
  Json megahertz = Json::array(), celsius = Json::array();
  for (const double hertz : measured.core_hertz) megahertz.push_back(hertz / 1e6);
  for (const Moment& moment : measured.moments) {
    celsius.push_back(moment.celsius ? Json(*moment.celsius) : Json(nullptr));
  }
  result["conditions"]["core_mhz_trace"] = std::move(megahertz);
  result["conditions"]["celsius_trace"] = std::move(celsius);
}

// Peaks for a number of threads: the better of what was measured before and after the tests.
kernels::MachineProfile peaks(const Json& rooflines, size_t threads) {
  kernels::MachineProfile best;
  for (const Json& probe : rooflines) {
    if (probe["threads"] != threads) continue;
    const auto raise = [&](double& figure, const char* key) {
      figure = std::max(figure, probe[key].get<double>());
    };
    raise(best.read_bandwidth_all, "read_bandwidth");
    raise(best.int8_peak, "int8_peak");
    raise(best.fp32_peak, "fp32_peak");
  }
  return best;
}

Json share_json(const Json& work, double seconds, const kernels::MachineProfile& machine) {
  const Roofline line = roofline(
      {work["bytes"].get<double>(), work["int8_ops"].get<double>(), work["fp32_ops"].get<double>()},
      machine);
  return {{"share", seconds > 0 ? line.seconds() / seconds : 0},
          {"limit", line.memory_seconds > line.compute_seconds ? "memory" : "compute"}};
}

Json planned_json(const Measured& measured) {
  if (!measured.planned) return nullptr;
  const bool decode = measured.test.kind == Test::Kind::kDecode;
  const engine::Speed& speed = *measured.planned;
  const engine::Speed::Range& range = decode ? speed.decode_range : speed.prefill_range;
  return {{"tokens_per_second", decode ? speed.decode : speed.prefill},
          {"interval", Json::array({range.low, range.high})}};
}

// The devices besides the CPU, and how many layers they have.
void add_placement(const engine::Engine& engine, Json& result) {
  const engine::Placement& placement = engine.options().placement;
  const bool moved = !placement.devices.empty();
  result["device"] = moved ? fmt::format("{}", fmt::join(placement.devices, "+")) : "cpu";
  result["gpu_layers"] = moved ? std::min(placement.layers, engine.model().config.layers + 1) : 0;
}

}  // namespace

Json memory_json(const ProcessMemory& measured, const engine::Engine& engine) {
  const auto or_null = [](std::optional<uint64_t> v) { return v ? Json(*v) : Json(nullptr); };
  const auto plan = plan_memory(engine.file(), engine.model(), engine.options());
  return {{"resident_bytes", or_null(measured.resident)},
          {"peak_bytes", or_null(measured.peak)},
          {"planned_bytes", plan ? Json(plan->host_peak()) : Json(nullptr)}};
}

Work work_of(const Test& test, const engine::Engine& engine) {
  Work work;
  for_each_step(test, engine.options().batch_rows, [&](const Rows& rows) {
    work += work_of(engine.model().program, engine.options().cache, rows);
  });
  return work;
}

Json result_json(const Measured& measured, const engine::Engine& engine) {
  const Test& test = measured.test;
  Json result = {{"test", name(test.kind)}, {"tokens", test.tokens}, {"depth", test.depth}};
  add_placement(engine, result);
  result["threads"] = engine.options().threads;
  result["kv"] = name(engine.options().cache);
  result["context"] = engine.context();
  add_times(measured, result);
  result["planned"] = planned_json(measured);
  result["work"] = json(work_of(test, engine));
  const double positions = test.depth + test.tokens;
  result["memory"] = memory_json(measured.memory, engine);
  result["memory"]["kv_bytes"] =
      positions * cache_bytes_per_position(engine.model().program, engine.options().cache);
  add_digest(measured, result);
  add_conditions(measured, result);
  result["waterfall"] = waterfall(measured, engine);
  return result;
}

void add_roofline_shares(Json& report) {
  for (Json& result : report["results"]) {
    const kernels::MachineProfile machine =
        peaks(report["rooflines"], result["threads"].get<size_t>());
    const double seconds =
        result["tokens"].get<double>() / result["tokens_per_second"]["median"].get<double>();
    result["roofline"] = share_json(result["work"], seconds, machine);
    result["roofline"]["bytes_per_second"] = result["work"]["bytes"].get<double>() / seconds;
    for (Json& row : result["waterfall"]) {
      row.update(share_json(row, row["seconds"].get<double>(), machine));
    }
  }
}

}  // namespace quern::bench

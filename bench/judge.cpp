#include "bench/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "bench/build_info.h"
#include "bench/statistics.h"
#include "gguf/result.h"

namespace quern::bench {
namespace {

using Json = nlohmann::ordered_json;
using Complaint = std::optional<std::string>;

// Limits of what passes without a word. Times are read in ticks of 10 ms: two of them are noise.
constexpr double kBusyOthers = 0.05;   // processors that others keep busy
constexpr double kSteal = 0.01;        // processors that the hypervisor takes
constexpr double kClockFall = 0.03;    // from the first to the last third
constexpr double kSpread = 0.05;       // standard deviation over mean
constexpr double kDrift = 0.03;        // change from the first to the last third
constexpr double kProbeChange = 0.10;  // of the read bandwidth, from before to after
constexpr double kTickNoise = 0.02;    // seconds
constexpr size_t kFewest = 5;          // repetitions

double percent(double fraction) { return 100 * fraction; }

std::vector<double> numbers(const Json& array) {
  std::vector<double> values;
  for (const Json& value : array) {
    if (value.is_number()) values.push_back(value.get<double>());
  }
  return values;
}

std::vector<double> speeds(const Json& result) {
  return numbers(result["tokens_per_second"]["samples"]);
}

// Processors in use beyond `limit` and beyond what the clock ticks can tell; absent otherwise.
std::optional<double> above(const Json& conditions, const char* key, double limit) {
  if (!conditions[key].is_number()) return std::nullopt;
  const double value = conditions[key].get<double>();
  const double noise = kTickNoise / conditions["seconds"].get<double>();
  return value > limit + noise ? std::optional(value) : std::nullopt;
}

Complaint busy_neighbour(const Json& result) {
  const Json& conditions = result["conditions"];
  const auto busy = above(conditions, "others_processors", kBusyOthers);
  if (!busy) return std::nullopt;
  std::string who;
  if (const Json& other = conditions["busiest_other"]; other.is_object()) {
    who = fmt::format(", most of all {}", escape(other["name"].get<std::string>()));
  }
  return fmt::format("other processes used {:.2f} processors{}; stop them and measure again", *busy,
                     who);
}

Complaint stolen_time(const Json& result) {
  const auto steal = above(result["conditions"], "steal_processors", kSteal);
  if (!steal) return std::nullopt;
  return fmt::format(
      "the hypervisor took {:.2f} processors away (steal time); measure on a machine of your own, "
      "or when its neighbours are quiet",
      *steal);
}

Complaint falling_clock(const Json& result) {
  const std::vector<double> trace = numbers(result["conditions"]["core_mhz_trace"]);
  const double change = drift(trace);
  if (change >= 1 - kClockFall) return std::nullopt;
  return fmt::format(
      "the core's clock fell by {:.0f} % (from {:.0f} to {:.0f} MHz); look at cooling and power "
      "limits, or measure longer with --sustained",
      percent(1 - change), trace.front(), trace.back());
}

double spread(const Json& result) {
  const Json& speed = result["tokens_per_second"];
  return speed["sd"].get<double>() / speed["mean"].get<double>();
}

Complaint wide_spread(const Json& result) {
  if (spread(result) <= kSpread) return std::nullopt;
  return fmt::format(
      "the repetitions differ by {:.1f} % (standard deviation); find out what disturbs them, and "
      "take more with -r",
      percent(spread(result)));
}

Complaint two_groups(const Json& result) {
  if (!is_bimodal(speeds(result))) return std::nullopt;
  return "the repetitions fall into two groups, so no single figure describes them; often it is "
         "another process, or threads that change between fast and slow cores";
}

Complaint slow_drift(const Json& result) {
  const double change = drift(speeds(result)) - 1;
  // A few samples differ by chance: twice their spread is not a trend.
  if (std::abs(change) <= std::max(kDrift, 2 * spread(result))) return std::nullopt;
  return fmt::format(
      "speed drifted by {:+.1f} % from the first to the last repetitions; let the machine reach "
      "its "
      "working temperature, or use --sustained",
      percent(change));
}

Complaint few_repetitions(const Json& result) {
  const size_t count = result["tokens_per_second"]["samples"].size();
  if (count >= kFewest) return std::nullopt;
  return fmt::format("only {} repetitions; take at least {} with -r", count, kFewest);
}

Complaint different_tokens(const Json& result) {
  if (result["repetitions_agree"].get<bool>()) return std::nullopt;
  return "repetitions gave different tokens, which must not happen; please report this as a bug";
}

Complaint reads_from_disk(const Json& result) {
  const auto faults = result["conditions"]["major_faults"].get<uint64_t>();
  if (faults == 0) return std::nullopt;
  return fmt::format(
      "{} pages were read from disk while measuring; the model does not stay in memory, so this "
      "is the disk's speed",
      faults);
}

// `memory` has a measured and a planned peak, which reports of earlier programs may lack.
Complaint above_plan(const Json& memory, const char* when) {
  const Json peak = memory.value("peak_bytes", Json()),
             most = memory.value("planned_bytes", Json());
  if (!peak.is_number() || !most.is_number() || peak <= most) return std::nullopt;
  return fmt::format(
      "{} took {:.2f} GiB of memory and {:.2f} were planned, which must not happen; please report "
      "this as a bug",
      when, peak.get<double>() / (1 << 30), most.get<double>() / (1 << 30));
}

// What drivers of devices take for themselves is not in the plan.
bool uses_driver(const Json& result) {
  return result["device"].get<std::string>().find("vulkan") != std::string::npos;
}

Complaint above_plan_in_test(const Json& result) {
  if (uses_driver(result)) return std::nullopt;
  return above_plan(result["memory"], "the test");
}

Complaint above_plan_in_loading(const Json& report) {
  if (std::ranges::any_of(report["results"], uses_driver)) return std::nullopt;
  for (const Json& model : report["models"]) {
    if (auto complaint = above_plan(model["load"], "loading")) return complaint;
  }
  return std::nullopt;
}

Complaint beyond_roofline(const Json& result) {
  const double share = result["roofline"]["share"].get<double>();
  if (share <= 1) return std::nullopt;
  return fmt::format(
      "{:.0f} % of the roofline is impossible; the machine was disturbed while it was probed",
      percent(share));
}

Complaint unsteady_machine(const Json& report) {
  double change = 0;
  for (const Json& before : report["rooflines"]) {
    for (const Json& after : report["rooflines"]) {
      if (before["when"] != "before" || after["when"] != "after") continue;
      if (before["threads"] != after["threads"] || before["read_bandwidth"] == 0) continue;
      const double ratio =
          after["read_bandwidth"].get<double>() / before["read_bandwidth"].get<double>();
      if (std::abs(ratio - 1) > std::abs(change)) change = ratio - 1;
    }
  }
  if (std::abs(change) <= kProbeChange) return std::nullopt;
  return fmt::format(
      "read bandwidth changed by {:+.0f} % between the start and the end; something else used the "
      "memory",
      percent(change));
}

Complaint too_many_threads(const Json& report) {
  const auto usable = report["machine"]["processor"]["usable_processors"].get<size_t>();
  for (const Json& result : report["results"]) {
    if (result["threads"].get<size_t>() <= usable) continue;
    return fmt::format("more threads than the {} processors that may be used", usable);
  }
  return std::nullopt;
}

Complaint incomplete(const Json& report) {
  if (report["complete"].get<bool>()) return std::nullopt;
  return "the run ended early; tests are missing";
}

Complaint wrong_build(const Json&) {
  if (is_release_build()) return std::nullopt;
  return "this is not a release build; build with CMAKE_BUILD_TYPE=Release";
}

template <typename Look>
struct Rule {
  const char* code;
  Look look;
};

constexpr Rule<Complaint (*)(const Json& result)> kResultRules[] = {
    {"busy-neighbour", busy_neighbour},
    {"steal-time", stolen_time},
    {"clock-fell", falling_clock},
    {"spread", wide_spread},
    {"bimodal", two_groups},
    {"drift", slow_drift},
    {"few-repetitions", few_repetitions},
    {"different-tokens", different_tokens},
    {"disk-reads", reads_from_disk},
    {"beyond-roofline", beyond_roofline},
    {"above-plan", above_plan_in_test},
};

constexpr Rule<Complaint (*)(const Json& report)> kReportRules[] = {
    {"incomplete", incomplete},
    {"not-release", wrong_build},
    {"unsteady-machine", unsteady_machine},
    {"too-many-threads", too_many_threads},
    {"above-plan", above_plan_in_loading},
};

}  // namespace

void judge(Json& report) {
  Json warnings = Json::array();
  const auto add = [&](const char* code, Json result, const Complaint& complaint) {
    if (!complaint) return;
    warnings.push_back({{"code", code}, {"result", std::move(result)}, {"message", *complaint}});
  };
  for (const auto& rule : kReportRules) add(rule.code, nullptr, rule.look(report));
  for (size_t i = 0; i < report["results"].size(); ++i) {
    const Json& result = report["results"][i];
    for (const auto& rule : kResultRules) add(rule.code, i, rule.look(result));
  }
  report["publishable"] = warnings.empty() && !report["results"].empty();
  report["warnings"] = std::move(warnings);
}

}  // namespace quern::bench

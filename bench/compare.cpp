#include "bench/compare.h"

#include <fmt/format.h>

#include <set>

#include "bench/statistics.h"

namespace quern::bench {
namespace {

using Json = nlohmann::ordered_json;

const Json& model_of(const Json& result, const Json& report) {
  return report["models"][result["model"].get<size_t>()];
}

bool same_test(const Json& a, const Json& b) {
  for (const char* key : {"test", "tokens", "depth", "kv"}) {
    if (a[key] != b[key]) return false;
  }
  return true;
}

// The result to compare with: of the same model and threads if there is one.
const Json* partner(const Json& result, const Json& report, const Json& base) {
  const Json* found = nullptr;
  int best = -1;
  for (const Json& candidate : base["results"]) {
    if (!same_test(result, candidate)) continue;
    const int likeness =
        2 * (model_of(candidate, base)["sha256"] == model_of(result, report)["sha256"]) +
        (candidate["threads"] == result["threads"]);
    if (likeness <= best) continue;
    best = likeness;
    found = &candidate;
  }
  return found;
}

// In what the work itself, or the conditions of the work, were not the same.
void add_differences(const NamedReport& other, const Json& result, const NamedReport& base,
                     const Json& base_result, std::set<std::string>& warnings) {
  const auto add = [&](std::string_view what) {
    warnings.insert(fmt::format("{}: {}", escape(other.name), what));
  };
  const Json& model = model_of(result, other.report);
  const Json& base_model = model_of(base_result, base.report);
  if (model["sha256"] != base_model["sha256"]) {
    add(fmt::format("NOT THE SAME WORK: the model is {}, not {}",
                    escape(model["name"].get<std::string>()),
                    escape(base_model["name"].get<std::string>())));
  } else if (result["token_digest"] != base_result["token_digest"]) {
    add("the same model gave other tokens: another version of Quern, or an instruction set without "
        "fused multiply-add");
  }
  if (result["device"] != base_result["device"] ||
      result["gpu_layers"] != base_result["gpu_layers"]) {
    add(fmt::format("{} layers on {}, not {} on {}", result["gpu_layers"].dump(),
                    escape(result["device"].get<std::string>()), base_result["gpu_layers"].dump(),
                    escape(base_result["device"].get<std::string>())));
  }
  if (result["threads"] != base_result["threads"]) {
    add(fmt::format("{} threads, not {}", result["threads"].dump(), base_result["threads"].dump()));
  }
  if (other.report["machine"]["processor"]["model"] !=
      base.report["machine"]["processor"]["model"]) {
    add("another processor");
  }
  if (other.report["quern"]["commit"] != base.report["quern"]["commit"])
    add("another Quern commit");
  if (other.report["quern"]["instruction_set"] != base.report["quern"]["instruction_set"]) {
    add("another instruction set");
  }
}

Json row(const NamedReport& other, const Json& result, const Json& base_result) {
  const auto samples = [](const Json& r) {
    return r["tokens_per_second"]["samples"].get<std::vector<double>>();
  };
  const double speed = result["tokens_per_second"]["median"];
  const double base_speed = base_result["tokens_per_second"]["median"];
  const Interval interval = ratio_interval(samples(result), samples(base_result));
  return {{"report", other.name},
          {"test", result["test"]},
          {"tokens", result["tokens"]},
          {"depth", result["depth"]},
          {"kv", result["kv"]},
          {"base", base_speed},
          {"speed", speed},
          {"ratio", speed / base_speed},
          {"ci95", Json::array({interval.low, interval.high})}};
}

}  // namespace

Result<Json> compare(std::span<const NamedReport> reports) {
  const NamedReport& base = reports.front();
  Json rows = Json::array();
  std::set<std::string> warnings;
  for (const NamedReport& other : reports.subspan(1)) {
    const size_t before = rows.size();
    for (const Json& result : other.report["results"]) {
      const Json* base_result = partner(result, other.report, base.report);
      if (!base_result) {
        warnings.insert(
            fmt::format("{}: some tests are not in {}", escape(other.name), escape(base.name)));
        continue;
      }
      rows.push_back(row(other, result, *base_result));
      add_differences(other, result, base, *base_result, warnings);
    }
    if (rows.size() == before) {
      return bad_input(
          "compare-nothing",
          fmt::format("{} and {} have no test in common (test, tokens, depth, KV type)",
                      escape(base.name), escape(other.name)));
    }
  }
  return Json{{"base", base.name}, {"rows", std::move(rows)}, {"warnings", warnings}};
}

std::string comparison_text(const Json& comparison) {
  std::string text =
      fmt::format("tokens/s against {}\n", escape(comparison["base"].get<std::string>(), 200));
  for (const Json& row : comparison["rows"]) {
    const double low = row["ci95"][0], high = row["ci95"][1];
    const char* verdict = low > 1 ? "faster" : high < 1 ? "slower" : "no difference shown";
    text += fmt::format(
        "{:7} {:>6} at depth {:>6} {:>5}  {:9.2f} -> {:9.2f}  x{:.3f} ({:.3f} to {:.3f}) {}, {}\n",
        row["test"].get<std::string>(), row["tokens"].dump(), row["depth"].dump(),
        escape(row["kv"].get<std::string>()), row["base"].get<double>(), row["speed"].get<double>(),
        row["ratio"].get<double>(), low, high, verdict,
        escape(row["report"].get<std::string>(), 200));
  }
  for (const Json& warning : comparison["warnings"]) {
    text += "  - " + warning.get<std::string>() + "\n";
  }
  return text;
}

}  // namespace quern::bench

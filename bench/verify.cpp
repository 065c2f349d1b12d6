#include "bench/verify.h"

#include <fmt/format.h>

#include <cmath>

#include "bench/tables.h"

namespace quern::bench {
namespace {

// The results of these agree to the bit (docs/DESIGN.md, "Deterministic").
bool has_fma(const Json& report) {
  return report["quern"]["instruction_set"].get<std::string>().starts_with("AVX");
}

Test test_of(const Json& result) {
  return {result["test"] == "prefill" ? Test::Kind::kPrefill : Test::Kind::kDecode,
          result["tokens"].get<uint32_t>(), result["depth"].get<uint32_t>()};
}

bool belongs(const Rerun& rerun, const Json& result, const std::string& model,
             kernels::CacheType cache) {
  return rerun.options.models[0] == model && rerun.options.caches[0] == cache &&
         rerun.options.threads[0] == result["threads"].get<uint32_t>();
}

// Error: "place-rule".
Result<engine::Placement> placement_of(const Json& options) {
  engine::Placement placement;
  placement.devices = options["devices"].get<std::vector<std::string>>();
  if (!options["gpu_layers"].is_null()) placement.layers = options["gpu_layers"].get<uint32_t>();
  for (const Json& text : options["place"]) {
    QUERN_TRY(engine::Placement::Rule rule, engine::parse_rule(text.get<std::string>()));
    placement.rules.push_back(std::move(rule));
  }
  return placement;
}

// Why tokens may differ without anybody being wrong; empty if there is no reason.
std::string reason_for_tokens(const Json& report, const Json& here) {
  if (report["quern"]["commit"] != here["quern"]["commit"]) return "another version of Quern";
  if (!has_fma(report) || !has_fma(here)) {
    return "an instruction set without fused multiply-add rounds differently";
  }
  return "";
}

// The same for speeds.
std::string reason_for_speed(const Json& report, const Json& here) {
  if (report["machine"]["processor"]["model"] != here["machine"]["processor"]["model"]) {
    return "another processor";
  }
  if (report["quern"]["commit"] != here["quern"]["commit"]) return "another version of Quern";
  if (!here["publishable"].get<bool>() && !here["warnings"].empty()) {
    return "disturbed here: " + here["warnings"][0]["message"].get<std::string>();
  }
  return "";
}

Json row(const Json& report, const Json& result, const Json& here, const Json& result_here,
         double tolerance) {
  const double speed = result["tokens_per_second"]["median"];
  const double speed_here = result_here["tokens_per_second"]["median"];
  const bool same_model =
      report["models"][result["model"].get<size_t>()]["sha256"] == here["models"][0]["sha256"];
  const bool tokens_agree = result["token_digest"] == result_here["token_digest"];
  const bool speed_agrees = std::abs(speed_here / speed - 1) <= tolerance;
  std::string explanation;
  bool agrees = same_model;
  const auto explain = [&](bool good, const char* what, const std::string& reason) {
    if (good) return;
    agrees = agrees && !reason.empty();
    explanation += fmt::format("{}{}: {}", explanation.empty() ? "" : "; ", what,
                               reason.empty() ? "no reason known" : reason);
  };
  if (same_model) {
    explain(tokens_agree, "other tokens", reason_for_tokens(report, here));
    explain(speed_agrees, "another speed", reason_for_speed(report, here));
  } else {
    explanation = "the model file is another one (SHA-256)";
  }
  return {{"title", title(result, report)}, {"tokens_agree", tokens_agree},
          {"report_speed", speed},          {"speed", speed_here},
          {"speed_agrees", speed_agrees},   {"agrees", agrees},
          {"explanation", explanation}};
}

}  // namespace

Result<std::vector<Rerun>> reruns(const Json& report, const std::string& model) {
  std::vector<Rerun> all;
  QUERN_TRY(const engine::Placement placement, placement_of(report["options"]));
  for (size_t i = 0; i < report["results"].size(); ++i) {
    const Json& result = report["results"][i];
    const std::string source =
        model.empty() ? report["models"][result["model"].get<size_t>()]["source"].get<std::string>()
                      : model;
    const auto cache = find_cache_type(result["kv"].get<std::string>());
    if (!cache) {
      return bad_input("verify-kv", "the report has a KV type that this Quern does not know: " +
                                        escape(result["kv"].get<std::string>()));
    }
    if (all.empty() || !belongs(all.back(), result, source, *cache)) {
      all.emplace_back();
      all.back().options.models = {source};
      all.back().options.threads = {result["threads"].get<uint32_t>()};
      all.back().options.caches = {*cache};
      all.back().options.placement = placement;
    }
    all.back().options.tests.push_back(test_of(result));
    all.back().results.push_back(i);
  }
  if (all.empty()) return bad_input("verify-empty", "the report has no results");
  return all;
}

Json verify(const Json& report, const std::vector<Rerun>& reruns, const std::vector<Json>& here,
            double tolerance) {
  Json rows = Json::array();
  bool agrees = true;
  for (size_t run = 0; run < reruns.size(); ++run) {
    for (size_t i = 0; i < reruns[run].results.size(); ++i) {
      rows.push_back(row(report, report["results"][reruns[run].results[i]], here[run],
                         here[run]["results"][i], tolerance));
      agrees = agrees && rows.back()["agrees"].get<bool>();
    }
  }
  return {{"rows", std::move(rows)}, {"tolerance", tolerance}, {"agrees", agrees}};
}

std::string verification_text(const Json& verification) {
  std::string text;
  for (const Json& row : verification["rows"]) {
    text += fmt::format("{}  {}: tokens {}, {:.2f} -> {:.2f} tokens/s ({:+.1f} %){}{}\n",
                        row["agrees"].get<bool>() ? "ok      " : "DIFFERS ",
                        row["title"].get<std::string>(),
                        row["tokens_agree"].get<bool>() ? "agree" : "differ",
                        row["report_speed"].get<double>(), row["speed"].get<double>(),
                        100 * (row["speed"].get<double>() / row["report_speed"].get<double>() - 1),
                        row["explanation"].get<std::string>().empty() ? "" : "; ",
                        row["explanation"].get<std::string>());
  }
  return text +
         (verification["agrees"].get<bool>() ? "The report is confirmed"
                                             : "The report is NOT confirmed") +
         fmt::format(" (speeds within {:.0f} %, or with a reason).\n",
                     100 * verification["tolerance"].get<double>());
}

}  // namespace quern::bench

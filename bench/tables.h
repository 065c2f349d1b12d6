// A report as tables: for the terminal, as Markdown, as CSV, and in llama-bench's layout.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace quern::bench {

std::string to_text(const nlohmann::ordered_json& report);
std::string to_markdown(const nlohmann::ordered_json& report);
std::string to_csv(const nlohmann::ordered_json& report);
// The columns of llama-bench's Markdown: model, size, params, backend, threads, test, t/s.
std::string to_llama_bench(const nlohmann::ordered_json& report);

// What all tests have in common of model, threads and KV type; the table leaves those columns out.
std::string common_setting(const nlohmann::ordered_json& report);
// What tells this result's setting from others of the report, ", 2 threads"; empty if nothing does.
std::string own_setting(const nlohmann::ordered_json& result, const nlohmann::ordered_json& report);
// The table's heading and one row per test.
std::vector<std::vector<std::string>> result_rows(const nlohmann::ordered_json& report);
// One line per warning; one that several tests have is given once.
std::vector<std::string> warnings(const nlohmann::ordered_json& report);

// "prefill 512 at depth 4096", with the setting if tests of the report differ in it.
std::string title(const nlohmann::ordered_json& result, const nlohmann::ordered_json& report);
// A value of report["machine"]: null is "unavailable".
std::string fact(const nlohmann::ordered_json& value);
// Every fact that a reader needs to judge the figures, as pairs of name and text, in groups.
struct FactGroup {
  std::string name;
  std::vector<std::pair<std::string, std::string>> facts;
};
std::vector<FactGroup> facts(const nlohmann::ordered_json& report);

}  // namespace quern::bench

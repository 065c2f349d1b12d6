#include "bench/report_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "bench/run.h"

namespace quern::bench {
namespace {

struct Member {
  const char* path;  // JSON pointer
  bool (*fits)(const Json& value);
};

bool is_text(const Json& value) { return value.is_string(); }
bool is_count(const Json& value) { return value.is_number_unsigned(); }
bool is_array(const Json& value) { return value.is_array(); }
bool is_speed(const Json& value) { return value.is_number() && value.get<double>() > 0; }
bool is_size(const Json& value) { return is_count(value) && value.get<uint64_t>() <= 1u << 24; }
bool is_positive_size(const Json& value) { return is_size(value) && value.get<uint64_t>() > 0; }
bool is_test(const Json& value) { return value == "prefill" || value == "decode"; }
bool is_samples(const Json& value) {
  return value.is_array() && !value.empty() && std::ranges::all_of(value, is_speed);
}

constexpr Member kReport[] = {
    {"/quern/version", is_text},
    {"/quern/commit", is_text},
    {"/quern/instruction_set", is_text},
    {"/machine/processor/model", is_text},
    {"/models", is_array},
    {"/results", is_array},
};
constexpr Member kModel[] = {
    {"/source", is_text},
    {"/name", is_text},
    {"/sha256", is_array},
};
constexpr Member kResult[] = {
    {"/model", is_count},
    {"/test", is_test},
    {"/tokens", is_positive_size},
    {"/depth", is_size},
    {"/threads", is_positive_size},
    {"/kv", is_text},
    {"/tokens_per_second/median", is_speed},
    {"/tokens_per_second/samples", is_samples},
    {"/token_digest", is_text},
};

// The first member that is missing or of another kind; null if there is none.
template <size_t kMembers>
const char* misfit(const Json& object, const Member (&members)[kMembers]) {
  for (const Member& member : members) {
    const Json::json_pointer path(member.path);
    if (!object.contains(path) || !member.fits(object.at(path))) return member.path;
  }
  return nullptr;
}

tl::unexpected<Error> wrong(const std::string& what) {
  return bad_input("report-schema",
                   "this is not a report of quern bench, or a damaged one: " + what);
}

}  // namespace

Result<Json> parse_report(const std::string& text) {
  Json report = Json::parse(text, nullptr, false);
  if (report.is_discarded()) return bad_input("report-json", "this is not JSON");
  if (!report.is_object() || report.value("schema", Json()) != "quern-bench") {
    return wrong("\"schema\" is not \"quern-bench\"");
  }
  if (report.value("schema_version", Json()) != kSchemaVersion) {
    return bad_input("report-schema",
                     fmt::format("the report has another schema version than {}; use the Quern "
                                 "that made it",
                                 kSchemaVersion));
  }
  if (const char* member = misfit(report, kReport)) return wrong(member);
  for (const Json& model : report["models"]) {
    if (const char* member = misfit(model, kModel)) return wrong(fmt::format("models {}", member));
  }
  for (const Json& result : report["results"]) {
    const char* member = misfit(result, kResult);
    if (!member && result["model"].get<uint64_t>() >= report["models"].size()) member = "/model";
    if (member) return wrong(fmt::format("results {}", member));
  }
  return report;
}

Result<Json> read_report(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return bad_input("report-open", "cannot open " + escape(path, 256));
  Result<Json> report = parse_report({std::istreambuf_iterator<char>(file), {}});
  if (!report) report.error().path = path;
  return report;
}

}  // namespace quern::bench

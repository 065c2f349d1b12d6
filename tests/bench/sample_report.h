// A report as it comes out of a good run: two tests, five repetitions each, nothing to complain of.
#pragma once

#include <nlohmann/json.hpp>

#include "bench/judge.h"
#include "bench/result.h"

namespace quern::test {

using Json = nlohmann::ordered_json;

inline Json sample_result(const char* kind, int tokens, int depth, double speed) {
  const double seconds = tokens / speed;
  Json result = {{"model", 0}, {"test", kind}, {"tokens", tokens}, {"depth", depth}};
  result.update({{"device", "cpu"}, {"gpu_layers", 0}, {"threads", 2}, {"kv", "f16"}});
  result["context"] = 4096;
  result["tokens_per_second"] = {
      {"median", speed},
      {"mean", speed},
      {"sd", 0.007 * speed},
      {"ci95", {0.99 * speed, 1.01 * speed}},
      {"samples", {speed, 0.99 * speed, 1.01 * speed, 1.005 * speed, 0.995 * speed}}};
  result["started_s"] = {1.0, 2.0, 3.0, 4.0, 5.0};
  const Json times = {
      {"p50", 10.5}, {"p95", 11.0}, {"p99", 12.25}, {"samples", {10.5, 11.0, 12.25}}};
  result["ttft_ms"] = result["test"] == "prefill" ? times : Json(nullptr);
  result["tpot_ms"] = result["test"] == "decode" ? times : Json(nullptr);
  result["work"] = {{"bytes", 25e9 * seconds}, {"int8_ops", 1e9}, {"fp32_ops", 0.0}};
  result["memory"] = {{"resident_bytes", 900'000'000u},
                      {"peak_bytes", 1'000'000'000u},
                      {"planned_bytes", 1'200'000'000u},
                      {"kv_bytes", 4'000'000.0}};
  result["token_digest"] = "00ff";
  result["repetitions_agree"] = true;
  result["conditions"] = {
      {"seconds", 5.0},
      {"others_processors", 0.01},
      {"busiest_other", {{"name", "sshd"}, {"processors", 0.01}}},
      {"steal_processors", 0.0},
      {"joules", nullptr},
      {"major_faults", 0u},
      {"core_mhz_trace", {4000.0, 4001.0, 3999.0, 4000.0, 4000.0, 3998.0}},
      {"celsius_trace", {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr}}};
  result["waterfall"] = {{{"op", "ffn_down"},
                          {"seconds", 0.25},
                          {"bytes", 5e9},
                          {"int8_ops", 1e9},
                          {"fp32_ops", 0.0}}};
  return result;
}

inline Json sample_report() {
  Json report = {{"schema", "quern-bench"}, {"schema_version", 1}};
  report["quern"] = {{"version", "0.1.0"},
                     {"commit", "0123456789ab"},
                     {"compiler", "g++ 12"},
                     {"build", "Release"},
                     {"instruction_set", "AVX3_DL"}};
  report["started"] = "2026-11-21T10:00:00Z";
  report["options"] = {
      {"models", {"m.gguf"}},   {"tests", Json::array()}, {"devices", Json::array()},
      {"gpu_layers", nullptr},  {"place", Json::array()}, {"threads", {2}},
      {"kv", {"f16"}},          {"repetitions", 5},       {"sustained_minutes", 0.0},
      {"threads_pinned", false}};
  report["machine"] = bench::describe_machine();
  report["machine"]["processor"]["model"] = "Test CPU <2>";
  report["machine"]["processor"]["usable_processors"] = 2;
  for (const char* when : {"before", "after"}) {
    report["rooflines"].push_back({{"when", when},
                                   {"threads", 2},
                                   {"read_bandwidth_one", 40e9},
                                   {"read_bandwidth", 50e9},
                                   {"int8_peak", 2e12},
                                   {"fp32_peak", 0.5e12}});
  }
  report["models"] = {{{"source", "m.gguf"},
                       {"name", "a model, & <more>"},
                       {"architecture", "llama"},
                       {"synthetic", nullptr},
                       {"bytes", 800'000'000u},
                       {"parameters", 1'200'000'000u},
                       {"sha256", {"abcd"}},
                       {"quantization",
                        {{{"format", "q4_K"},
                          {"tensors", 1},
                          {"values", 256},
                          {"bytes", 144},
                          {"kernel", "int8 panel dot product"}}}},
                       {"load",
                        {{"cold_s", nullptr},
                         {"warm_s", 0.5},
                         {"resident_bytes", 900'000'000u},
                         {"peak_bytes", 1'000'000'000u},
                         {"planned_bytes", 1'200'000'000u}}}}};
  report["results"] =
      Json::array({sample_result("prefill", 512, 0, 400), sample_result("decode", 128, 1024, 50)});
  report["seconds"] = 12.5;
  report["complete"] = true;
  bench::add_roofline_shares(report);
  bench::judge(report);
  return report;
}

}  // namespace quern::test

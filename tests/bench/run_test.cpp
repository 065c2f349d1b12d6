// Whole runs on a small synthetic model.
#include "bench/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "bench/core_clock.h"
#include "bench/digest.h"
#include "bench/model_source.h"
#include "bench/tables.h"
#include "bench/verify.h"
#include "tests/json_schema.h"
#include "tests/run_program.h"

namespace quern::bench {
namespace {

using test::run_program;
using ::testing::HasSubstr;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string schema_violation(const Json& report) {
  static const test::JsonSchema schema(QUERN_SOURCE_DIR "/docs/bench-schema.json");
  return schema.violation(report);
}

Options small_options() {
  Options options;
  options.models = {"synth:tiny:Q4_K_M"};
  options.tests = combine({24}, {8}, {0, 70});
  options.threads = {2};
  options.repetitions = 3;
  options.probe = {.bytes = 4 << 20, .rounds = 1000, .seconds = 0};
  return options;
}

Outcome run_quietly(const Options& options) {
  const engine::CancelToken cancel{false};
  return run(options, cancel, [](const Progress&) {});
}

TEST(Run, reportsEveryCombination) {
  Options options = small_options();
  options.threads = {1, 2};
  options.caches = {kernels::CacheType::kF16, kernels::CacheType::kQ8_0};
  const Outcome outcome = run_quietly(options);
  ASSERT_TRUE(outcome.status) << outcome.status.error().to_string();
  const Json& report = outcome.report;
  EXPECT_EQ(schema_violation(report), "");
  EXPECT_TRUE(report["complete"].get<bool>());
  EXPECT_EQ(report["rooflines"].size(), 4u) << "two numbers of threads, before and after";
  ASSERT_EQ(report["results"].size(), 16u);
  for (const Json& result : report["results"]) {
    const Json& speed = result["tokens_per_second"];
    EXPECT_EQ(speed["samples"].size(), 3u);
    EXPECT_GT(speed["median"].get<double>(), 0);
    EXPECT_LE(speed["ci95"][0], speed["median"]);
    EXPECT_GE(speed["ci95"][1], speed["median"]);
    EXPECT_TRUE(result["repetitions_agree"].get<bool>());
    EXPECT_GT(result["roofline"]["share"].get<double>(), 0);
    EXPECT_EQ(result["ttft_ms"].is_null(), result["test"] == "decode");
    EXPECT_EQ(result["tpot_ms"].is_null(), result["test"] == "prefill");
    const char* const times = result["test"] == "decode" ? "tpot_ms" : "ttft_ms";
    EXPECT_EQ(result[times]["samples"].size(), result["test"] == "decode" ? 3u * 8 : 3u);
    double seconds = 0;
    for (const Json& row : result["waterfall"]) seconds += row["seconds"].get<double>();
    EXPECT_GT(seconds, 0);
  }
}

// Beside what is measured stands what the planner would have said, from speeds that are known.
TEST(Run, showsWhatWasPlanned) {
  Options options = small_options();
  options.repetitions = 1;
  options.speeds.emplace();
  options.speeds->peaks.threads = 2;
  options.speeds->peaks.fp32_peak = 1e11;
  for (const auto format : {gguf::Format::Q4_K, gguf::Format::Q6_K}) {
    options.speeds->cpu.formats[format] = {1e10, 1e11, 1e10};
  }
  const Json report = run_quietly(options).report;
  EXPECT_EQ(schema_violation(report), "");
  for (const Json& result : report["results"]) {
    const Json& planned = result["planned"];
    const bool deep_prompt = result["test"] == "prefill" && result["depth"] != 0;
    ASSERT_EQ(planned.is_null(), deep_prompt);
    if (deep_prompt) continue;
    EXPECT_GT(planned["tokens_per_second"].get<double>(), planned["interval"][0].get<double>());
    EXPECT_LT(planned["tokens_per_second"].get<double>(), planned["interval"][1].get<double>());
  }
  EXPECT_THAT(to_text(report), HasSubstr("planned"));
  options.threads = {1};  // the speeds are those of two
  EXPECT_TRUE(run_quietly(options).report["results"][0]["planned"].is_null());
}

TEST(Run, tokensDependOnTheWorkAlone) {
  Options options = small_options();
  options.threads = {1, 2};
  const Json report = run_quietly(options).report;
  const size_t half = report["results"].size() / 2;
  for (size_t i = 0; i < half; ++i) {
    EXPECT_EQ(report["results"][i]["token_digest"], report["results"][half + i]["token_digest"]);
  }
  // 8 tokens after one and after seventy.
  EXPECT_NE(report["results"][1]["token_digest"], report["results"][3]["token_digest"]);
}

TEST(Run, isConfirmedByAnotherRun) {
  const Json report = run_quietly(small_options()).report;
  auto runs = *reruns(report, "");
  ASSERT_EQ(runs.size(), 1u);
  runs[0].options.probe = small_options().probe;
  runs[0].options.repetitions = 2;
  const Outcome again = run_quietly(runs[0].options);
  const Json found = verify(report, runs, {again.report}, 1000);
  EXPECT_TRUE(found["agrees"].get<bool>()) << found;
  EXPECT_EQ(found["rows"].size(), 4u);
}

TEST(Run, endsWithWhatIsDoneWhenCancelled) {
  engine::CancelToken cancel{false};
  const Outcome outcome = run(small_options(), cancel, [&](const Progress& progress) {
    if (progress.what.find("depth 70, repetition 2") != std::string::npos) cancel = true;
  });
  ASSERT_FALSE(outcome.status);
  EXPECT_EQ(outcome.status.error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(outcome.report["results"].size(), 2u);
  EXPECT_FALSE(outcome.report["complete"].get<bool>());
  EXPECT_FALSE(outcome.report["publishable"].get<bool>());
  EXPECT_EQ(schema_violation(outcome.report), "");
}

TEST(Run, sustainedGoesOnForItsTime) {
  Options options = small_options();
  options.tests = combine({}, {8}, {0});
  options.repetitions = 1;
  options.sustained_minutes = 0.5 / 60;
  const Json report = run_quietly(options).report;
  const Json& result = report["results"][0];
  EXPECT_GT(result["tokens_per_second"]["samples"].size(), 1u);
  EXPECT_GE(result["conditions"]["seconds"].get<double>(), 0.4);
}

// Another process that keeps a processor busy as long as this object lives.
class BusyNeighbour {
 public:
  BusyNeighbour() {
    const char* const argv[] = {"sh", "-c", "while :; do :; done", nullptr};
    if (posix_spawnp(&id_, "sh", nullptr, nullptr, const_cast<char* const*>(argv), environ) != 0) {
      throw std::runtime_error("cannot start a neighbour");
    }
  }
  ~BusyNeighbour() {
    kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
  }
  BusyNeighbour(const BusyNeighbour&) = delete;
  BusyNeighbour& operator=(const BusyNeighbour&) = delete;

 private:
  pid_t id_;
};

TEST(Run, flagsABusyNeighbour) {
  Options options = small_options();
  options.tests = combine({}, {8}, {0});
  options.sustained_minutes = 1.0 / 60;
  const BusyNeighbour neighbour;
  const Json report = run_quietly(options).report;
  std::string codes;
  for (const Json& warning : report["warnings"]) codes += warning["code"].get<std::string>() + " ";
  EXPECT_THAT(codes, HasSubstr("busy-neighbour"));
  EXPECT_FALSE(report["publishable"].get<bool>());
}

TEST(ModelSource, explainsWhatItCannotMake) {
  EXPECT_EQ(ModelSource::parse("synth:tiny").error().code, "synth-shape");
  EXPECT_EQ(ModelSource::parse("synth:huge:Q4_K_M").error().code, "synth-shape");
  EXPECT_EQ(ModelSource::parse("synth:tiny:Q9").error().code, "synth-type");
  EXPECT_EQ(ModelSource::parse("synth:tiny:Q8_0:x").error().code, "synth-seed");
  EXPECT_EQ(ModelSource::parse("synth:tiny:Q8_0:7")->synthetic()->seed, 7u);
}

TEST(ModelSource, removesWhatItWrote) {
  std::string path;
  {
    ModelSource source = *ModelSource::parse("synth:tiny:Q8_0");
    ASSERT_TRUE(source.write());
    path = source.open()->path();
    EXPECT_TRUE(std::ifstream(path).good());
  }
  EXPECT_FALSE(std::ifstream(path).good());
}

TEST(Digest, isThatOfSha256sum) {
  EXPECT_EQ(*sha256(std::as_bytes(std::span("abc", 3))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(CoreClock, isAClockOfAProcessor) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the chain of operations that it times is instrumented";
#endif
  EXPECT_GT(core_hertz(), 1e8);
  EXPECT_LT(core_hertz(), 2e10);
}

TEST(BenchProgram, writesReportsAndVerifiesThem) {
  const test::TemporaryFolder folder;
  const std::string name = folder.file("report");
  const auto result =
      run_program({"bench", "synth:tiny:Q4_K_M", "--profile", "quick", "-p", "16", "-n", "4", "-r",
                   "2", "--json", "--html", "--csv", "--md", "--out", name});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("tokens/s"));
  EXPECT_EQ(schema_violation(Json::parse(read_file(name + ".json"))), "");
  for (const char* ending : {".html", ".csv", ".md"}) EXPECT_NE(read_file(name + ending), "");
  const auto again =
      run_program({"bench", "verify", name + ".json", "--tolerance", "100", "-r", "2", "--json"});
  const Json checked = Json::parse(again.out);
  for (const Json& row : checked["rows"]) {
    EXPECT_TRUE(row["tokens_agree"].get<bool>());
  }
  const auto compared = run_program({"bench", "compare", name + ".json", name + ".json"});
  EXPECT_EQ(compared.exit_code, 0) << compared.err;
  EXPECT_THAT(compared.out, HasSubstr("x1.000"));
}

TEST(BenchProgram, saysWhereLayersWereAndVerifiesThemThere) {
  const test::TemporaryFolder folder;
  const std::string name = folder.file("report");
  const auto result = run_program({"bench", "synth:tiny:Q8_0", "--profile", "quick", "-p", "8",
                                   "-n", "2", "-r", "1", "--device", "reference", "--gpu-layers",
                                   "1", "--place", "attn_q=cpu", "--json", "--out", name});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json report = Json::parse(read_file(name + ".json"));
  EXPECT_EQ(schema_violation(report), "");
  for (const Json& measured : report["results"]) {
    EXPECT_EQ(measured["device"], "reference");
    EXPECT_EQ(measured["gpu_layers"], 1);
  }
  EXPECT_EQ(report["options"]["place"], Json::array({"attn_q=cpu"}));
  const auto reruns = bench::reruns(report, "");
  ASSERT_TRUE(reruns);
  const engine::Placement& placement = reruns->front().options.placement;
  EXPECT_EQ(placement.devices, std::vector<std::string>{"reference"});
  EXPECT_EQ(placement.layers, 1u);
  ASSERT_EQ(placement.rules.size(), 1u);
  EXPECT_EQ(placement.rules[0].device, "cpu");
}

TEST(BenchProgram, refusesWhatItCannotMeasure) {
  const std::vector<std::vector<std::string>> wrong = {
      {"/does/not/exist.gguf"},
      {"synth:tiny:Q9"},
      {"-p", "0", "-n", "0"},
      {"--json", "--md"},
      {"--device", "gpu"},
      {"--gpu-layers", "3"},
      {"verify", "/no/such.json"},
      {"compare", "one"},
      {"--profile", "best"},
      {"-r", "0"},
      {"--kv", "f8"},
  };
  for (std::vector<std::string> arguments : wrong) {
    arguments.insert(arguments.begin(), "bench");
    const auto result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments[1] << ": " << result.err;
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  }
}

}  // namespace
}  // namespace quern::bench

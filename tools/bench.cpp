// `quern bench`: measures models on this machine, for reports that others can check.
#include "bench/html.h"
#include "bench/model_source.h"
#include "bench/run.h"
#include "bench/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "gguf/os_file.h"
#include "tools/bench_reports.h"
#include "tools/bundled_model.h"
#include "tools/commands.h"
#include "tools/machine_file.h"
#include "tools/output.h"
#include "tools/placement_options.h"
#include "tools/plan_budget.h"
#include "tools/repl_signals.h"
#include "tools/terminal.h"

namespace quern::tools {
namespace {

// What a report can be written as.
struct Form {
  const char* name;  // of the option, and of the file
  const char* help;
  std::string (*print)(const bench::Json& report);
};

constexpr Form kForms[] = {
    {"json", "the whole report (docs/bench-schema.json)", bench_json},
    {"md", "tables in Markdown", bench::to_markdown},
    {"csv", "one line per test", bench::to_csv},
    {"html", "a page with plots, complete in itself", bench::to_html},
};

struct Profile {
  const char* name;
  std::vector<uint32_t> prefill, decode, depths;
  uint32_t repetitions;
  kernels::ProbeEffort probe = {};
};

const Profile kProfiles[] = {
    {"quick", {128}, {32}, {0}, 3, bench::kQuickProbe},
    {"review", {128, 512, 4096}, {128}, {0, 4096, 16384}, 10},
    {"llama-bench", {512}, {128}, {0}, 5},
};

struct BenchOptions {
  bench::Options run;
  std::vector<uint32_t> prefill = {512}, decode = {128}, depths = {0};
  std::string profile, out;
  std::vector<const Form*> forms;
  bool force = false;
};

// Values of the profile for every option that was not given.
void apply_profile(const CLI::App& command, BenchOptions& options) {
  const Profile* profile =
      std::ranges::find(kProfiles, options.profile, [](const Profile& p) { return p.name; });
  if (profile == std::end(kProfiles)) return;
  options.run.probe = profile->probe;
  if (command.count("-p") == 0) options.prefill = profile->prefill;
  if (command.count("-n") == 0) options.decode = profile->decode;
  if (command.count("-d") == 0) options.depths = profile->depths;
  if (command.count("-r") == 0) options.run.repetitions = profile->repetitions;
}

// Fills options.run.tests. Errors: "bench-…".
Status check(BenchOptions& options) {
  std::erase(options.prefill, 0u);
  std::erase(options.decode, 0u);
  if (options.run.sustained_minutes > 0) {  // one test, the one that people wait for
    options.prefill.clear();
    options.depths = {options.depths.front()};
    if (!options.decode.empty()) options.decode = {options.decode.front()};
  }
  options.run.tests = bench::combine(options.prefill, options.decode, options.depths);
  if (options.run.tests.empty()) {
    return bad_input("bench-empty",
                     "there is nothing to measure: give -p or -n a number of tokens");
  }
  QUERN_CHECK(say_missing_devices(options.run.placement));
  options.run.placement.strict = true;  // figures of the CPU must not pass for a GPU's
  if (options.forms.size() > 1 && options.out.empty()) {
    return bad_input("bench-out", "several reports need --out NAME to be told apart");
  }
  return {};
}

Status write_file(const std::string& path, std::string_view text) {
  QUERN_TRY(gguf::ReplacedFile file, gguf::ReplacedFile::create(path));
  QUERN_CHECK(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

Status write_reports(const BenchOptions& options, const bench::Json& report) {
  for (const Form* form : options.forms) {
    const std::string text = form->print(report);
    if (options.out.empty()) return write_stdout(text);
    QUERN_CHECK(write_file(fmt::format("{}.{}", options.out, form->name), text));
  }
  return write_stdout(options.profile == "llama-bench" ? bench::to_llama_bench(report)
                                                       : bench::to_text(report));
}

// Before anything long begins: every model fits into memory, with every type of cache.
Status check_memory(BenchOptions& options) {
  for (const std::string& name : options.run.models) {
    QUERN_TRY(const bench::ModelSource source, bench::ModelSource::parse(name));
    QUERN_TRY(const gguf::File file, source.outline());
    for (const kernels::CacheType cache : options.run.caches) {
      engine::EngineOptions engine{.threads = options.run.threads[0],
                                   .context = bench::needed_context(options.run.tests),
                                   .cache = cache,
                                   .forks = 1,
                                   .placement = options.run.placement};
      QUERN_CHECK(place_within_budget(file, engine, options.force));
      options.run.placement = std::move(engine.placement);
    }
  }
  return {};
}

// Speeds to predict the tests from, beside which the report shows what was measured. Measured once
// per machine, which smoke tests do not wait for.
Status find_speeds(BenchOptions& options) {
  if (options.profile == "quick") return {};
  std::set<gguf::Format> formats;
  for (const std::string& name : options.run.models) {
    QUERN_TRY(const bench::ModelSource source, bench::ModelSource::parse(name));
    QUERN_TRY(const gguf::File file, source.outline());
    QUERN_TRY(const engine::Model model, engine::read_model(file));
    QUERN_TRY(const auto needed, engine::formats_needed(model, {}));
    formats.insert(needed[0].begin(), needed[0].end());
  }
  const std::vector<std::string>& devices = options.run.placement.devices;
  QUERN_TRY(Machine machine, this_machine({.threads = options.run.threads[0],
                                           .devices = devices,
                                           .formats = std::vector(devices.size() + 1, formats)}));
  options.run.speeds = std::move(machine.speeds);
  return {};
}

Status run_bench(BenchOptions options) {
  QUERN_CHECK(check(options));
  if (options.run.models.empty()) {
    QUERN_TRY(std::string bundled, bundled_model());
    options.run.models.push_back(std::move(bundled));
  }
  QUERN_CHECK(check_memory(options));
  QUERN_CHECK(find_speeds(options));
  bench::Outcome outcome = measure_with_progress(options.run);
  const bool measured = !outcome.report["results"].empty();
  if (!outcome.status && !measured) return outcome.status;
  QUERN_CHECK(write_reports(options, outcome.report));
  return outcome.status;
}

void add_bench_options(CLI::App& command, BenchOptions& options) {
  const auto list = [&](const char* name, std::vector<uint32_t>& values, uint32_t least,
                        uint32_t most, const char* help) {
    command.add_option(name, values, help)
        ->delimiter(',')
        ->check(CLI::Range(least, most))
        ->option_text("N,…");
  };
  list("-p,--prefill", options.prefill, 0, 1u << 20,
       "prompt tokens to prefill (default 512; 0: none)");
  list("-n,--decode", options.decode, 0, 1u << 20, "tokens to decode (default 128; 0: none)");
  list("-d,--depth", options.depths, 0, 1u << 24,
       "positions in the cache before each test (default 0)");
  list("--threads", options.run.threads, 1, 1024, "threads (default: all processors)");
  const std::map<std::string, kernels::CacheType> caches = {{"f32", kernels::CacheType::kF32},
                                                            {"f16", kernels::CacheType::kF16},
                                                            {"q8_0", kernels::CacheType::kQ8_0}};
  command
      .add_option("--kv", options.run.caches,
                  "types of the key/value cache: f32, f16 (default), q8_0")
      ->delimiter(',')
      ->transform(CLI::CheckedTransformer(caches, CLI::ignore_case))
      ->option_text("TYPE,…");
  command
      .add_option("-r,--repetitions", options.run.repetitions,
                  "repetitions of each test (default 5)")
      ->check(CLI::Range(1u, 100000u))
      ->option_text("N");
  command
      .add_option("--sustained", options.run.sustained_minutes,
                  "decode again and again for so many minutes, to see the machine warm up")
      ->check(CLI::Range(0.0, 24 * 60.0))
      ->option_text("MIN");
  std::vector<std::string> profiles;
  for (const Profile& profile : kProfiles) profiles.push_back(profile.name);
  command.add_option("--profile", options.profile, "usual tests: quick, review or llama-bench")
      ->check(CLI::IsMember(profiles))
      ->option_text("NAME");
  add_placement_options(command, options.run.placement);
  command.add_flag("--force", options.force, "measure even what does not fit into memory");
  for (const Form& form : kForms) {
    command.add_flag_callback(
        std::string("--") + form.name, [&options, &form] { options.forms.push_back(&form); },
        std::string("print ") + form.help);
  }
  command.add_option("-o,--out", options.out, "write the chosen reports to NAME.json, NAME.md, …")
      ->option_text("NAME");
}

}  // namespace

void add_bench(CLI::App& app, Run& run) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command =
      app.add_subcommand("bench", "Measure speed, for reports that others can check");
  command->footer(
      "Every combination of the lists is measured. docs/benchmarking.md says what each figure "
      "means.\n"
      "Examples:\n"
      "  quern bench model.gguf\n"
      "  quern bench synth:llama-1b:Q4_K_M -p 128,512 -n 64 -d 0,4096 --json --html --out report\n"
      "  quern bench model.gguf --profile llama-bench\n"
      "  quern bench compare before.json after.json\n"
      "  quern bench verify report.json");
  command->add_option(
      "MODEL", options->run.models,
      "GGUF models, or synth:SHAPE:MIX (see quern synth --help); default: the bundled one");
  add_bench_options(*command, *options);
  add_bench_compare(*command, run);
  add_bench_verify(*command, run);
  command->callback([options, command, &run] {
    if (!command->get_subcommands().empty()) return;  // compare and verify
    apply_profile(*command, *options);
    run = [options] { return run_bench(*options); };
  });
}

}  // namespace quern::tools

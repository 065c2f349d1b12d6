// `quern bench compare` and `quern bench verify`, and what they share with `quern bench`.
#include "tools/bench_reports.h"

#include <fmt/format.h>

#include <memory>

#include "bench/compare.h"
#include "bench/report_file.h"
#include "bench/verify.h"
#include "tools/output.h"
#include "tools/repl_signals.h"
#include "tools/terminal.h"

namespace quern::tools {
namespace {

struct CompareOptions {
  std::vector<std::string> reports;
  bool json = false;
};

Status run_compare(const CompareOptions& options) {
  std::vector<bench::NamedReport> reports;
  for (const std::string& path : options.reports) {
    QUERN_TRY(bench::Json report, bench::read_report(path));
    reports.push_back({path, std::move(report)});
  }
  QUERN_TRY(const bench::Json comparison, bench::compare(reports));
  return write_stdout(options.json ? bench_json(comparison) : bench::comparison_text(comparison));
}

struct VerifyOptions {
  std::string report, model;
  double tolerance = 10;  // percent
  uint32_t repetitions = 5;
  bool json = false;
};

Status run_verify(const VerifyOptions& options) {
  QUERN_TRY(const bench::Json report, bench::read_report(options.report));
  QUERN_TRY(std::vector<bench::Rerun> reruns, bench::reruns(report, options.model));
  std::vector<bench::Json> here;
  for (bench::Rerun& rerun : reruns) {
    rerun.options.repetitions = options.repetitions;
    rerun.options.probe = bench::kQuickProbe;  // only to notice a disturbed machine
    bench::Outcome outcome = measure_with_progress(rerun.options);
    QUERN_CHECK(outcome.status);
    here.push_back(std::move(outcome.report));
  }
  const bench::Json verification = bench::verify(report, reruns, here, options.tolerance / 100);
  QUERN_CHECK(write_stdout(options.json ? bench_json(verification)
                                        : bench::verification_text(verification)));
  if (verification["agrees"].get<bool>()) return {};
  return fail(ErrorKind::kFailure, "verify-differs", "the report is not confirmed on this machine");
}

std::string remaining(double seconds) {
  if (seconds < 1) return "";
  const auto whole = static_cast<int>(seconds);
  return fmt::format(", {}:{:02} left", whole / 60, whole % 60);
}

}  // namespace

std::string bench_json(const bench::Json& report) {
  return report.dump(2, ' ', true, bench::Json::error_handler_t::replace) + "\n";
}

bench::Outcome measure_with_progress(const bench::Options& options) {
  const Signals signals;
  Progress line("");
  return bench::run(options, cancel_token(), [&](const bench::Progress& progress) {
    line.say(progress.what + remaining(progress.seconds_left));
  });
}

void add_bench_compare(CLI::App& bench, Run& run) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command = bench.add_subcommand("compare", "Compare reports with the first one");
  command->footer("Example: quern bench compare before.json after.json");
  command->add_option("REPORT", options->reports, "reports made with --json")
      ->required()
      ->expected(2, 1000);
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &run] { run = [options] { return run_compare(*options); }; });
}

void add_bench_verify(CLI::App& bench, Run& run) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command = bench.add_subcommand("verify", "Do the work of a report again, here");
  command->footer(
      "Tokens must be the same wherever Quern promises it. Speeds must agree within the tolerance, "
      "\nor there must be an explanation. Exit code 1 if the report is not confirmed.\n"
      "Example: quern bench verify report.json --tolerance 5");
  command->add_option("REPORT", options->report, "report made with --json")->required();
  command->add_option("--model", options->model, "where the model is here (default: as reported)")
      ->option_text("FILE");
  command->add_option("--tolerance", options->tolerance, "of speeds, in percent (default 10)")
      ->check(CLI::Range(0.0, 100.0))
      ->option_text("PERCENT");
  command->add_option("-r,--repetitions", options->repetitions, "repetitions (default 5)")
      ->check(CLI::Range(1u, 100000u))
      ->option_text("N");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &run] { run = [options] { return run_verify(*options); }; });
}

}  // namespace quern::tools

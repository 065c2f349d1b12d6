// quern: the command line program. One file per subcommand; this one only chooses among them.
#include <cstdio>

#include "gguf/exceptions.h"
#include "tools/commands.h"

namespace quern::tools {
namespace {

int exit_code(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kBadInput:
    case ErrorKind::kUnsupported:
      return 2;
    case ErrorKind::kFailure:
      return 1;
    case ErrorKind::kCancelled:
      return 130;
  }
  return 1;
}

// What a user typed may be in the message: no control characters on the terminal.
std::string one_line(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7F') c = ' ';
  }
  return text;
}

int main(int argc, char** argv) {
  CLI::App app("Quern runs GGUF language models.", "quern");
  app.set_version_flag("--version", std::string("quern ") + QUERN_VERSION);
  app.require_subcommand(1);
  Run run;
  add_run(app, run);
  add_inspect(app, run);
  add_tokenize(app, run);
  add_logits(app, run);
  add_plan(app, run);
  add_synth(app, run);
  add_quantize(app, run);
  add_imatrix(app, run);
  add_conform(app, run);
  add_perplexity(app, run);
  add_compare(app, run);
  add_bench(app, run);
  add_doctor(app, run);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return "quern: " + one_line(error.what()) + " (see --help)\n";
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // CLI11 reports by exception; 0 stands for --help and --version.
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (const Status status = catch_exceptions(run); !status) {
    std::fprintf(stderr, "quern: %s\n", status.error().to_string().c_str());
    return exit_code(status.error());
  }
  return 0;
}

}  // namespace
}  // namespace quern::tools

int main(int argc, char** argv) { return quern::tools::main(argc, argv); }

// `quern run`: chat with a model, or answer one prompt.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include "engine/sampler/recommended.h"
#include "tools/bundled_model.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/placement_options.h"
#include "tools/repl.h"
#include "tools/repl_signals.h"
#include "tools/run_filter.h"
#include "tools/run_model.h"
#include "tools/sizes.h"
#include "tools/terminal.h"

namespace quern::tools {
namespace {

struct RunOptions {
  RunModelOptions model;
  std::string prompt, prompt_file, system;
  uint32_t limit = 0;
  bool no_mmap = false, mlock = false, json = false, statistics = false, has_prompt = false;
  // Sampling options as the command line gives them, in order.
  std::vector<std::pair<std::string, std::string>> sampling;
};

Result<std::string> read_all(std::istream& stream, const std::string& name) {
  std::string text(std::istreambuf_iterator<char>(stream), {});
  if (stream.bad()) return bad_input("prompt-read", fmt::format("cannot read {}", name));
  // The newline that ends a text file is not part of the question.
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

Result<std::string> read_prompt(const RunOptions& options) {
  if (options.has_prompt) return options.prompt;
  if (options.prompt_file.empty()) return read_all(std::cin, "standard input");
  const std::string name = escape(options.prompt_file, 256);
  std::ifstream file(options.prompt_file, std::ios::binary);
  if (!file) return bad_input("prompt-read", fmt::format("cannot open {}", name));
  return read_all(file, name);
}

// A random seed, then what the model recommends, then what the user wants.
Result<engine::SamplerOptions> choose_sampling(const RunOptions& options, const gguf::File& file) {
  engine::SamplerOptions sampling;
  sampling.seed = std::random_device{}();
  print_warnings(apply_recommended(sampling, file));
  for (const auto& [name, value] : options.sampling) {
    QUERN_CHECK(set_option(sampling, name, value));
  }
  return sampling;
}

std::string greeting(const RunModel& model) {
  std::string name = escape(model.file().text("general.name", model.file().path()), 256);
  name = name.substr(1, name.size() - 2);  // without quotes
  return fmt::format("{}, context {} tokens. /help lists the commands.", escape(name),
                     model.context());
}

// Ctrl-C ends it: at once while the file is opened, in order as soon as the engine takes memory.
Result<std::unique_ptr<RunModel>> load(RunModelOptions options) {
  const InterruptEnds interrupt_ends;
  std::optional<Signals> signals;
  Progress progress("loading " + escape(options.path, 256));
  std::optional<Progress> testing;
  options.engine.testing = [&](const std::string& device, double fraction) {
    if (!testing) testing.emplace("testing " + escape(device) + ", which happens once,");
    testing->update(fraction);
  };
  options.engine.progress = [&](double fraction) {
    testing.reset();
    if (!signals) signals.emplace();
    progress.update(fraction);
    return !cancel_token();
  };
  options.engine.notice = [](const std::string& said) { print_warnings({&said, 1}); };
  auto model = RunModel::load(std::move(options), cancel_token());
  if (signals && signals->end_signal() != 0) {
    progress.clear();
    end_by_signal(signals->end_signal());
  }
  if (cancel_token()) return fail(ErrorKind::kCancelled, "cancelled", "stopped");
  return model;
}

void report_memory(const RunModel& model, const char* when) {
  std::fprintf(stderr, "quern: %s: %s\n", when, model.memory().c_str());
}

// What the model answers: in a chat, or one prompt.
Status use(RunModel& model, RunOptions& options, bool one_prompt) {
  QUERN_TRY(engine::SamplerOptions sampling, choose_sampling(options, model.file()));
  QUERN_CHECK(model.set_sampling(std::move(sampling)));
  if (one_prompt) {
    QUERN_TRY(std::string prompt, read_prompt(options));
    return run_filter(model, {std::move(prompt), options.system, options.limit, options.json,
                              options.statistics});
  }
  QUERN_CHECK(
      run_repl(model, {options.system, options.limit, options.statistics}, greeting(model)));
  if (options.statistics) report_memory(model, "at the end");
  return {};
}

Status run_model(RunOptions options) {
  using Access = gguf::OpenOptions::Access;
  options.model.open.access = options.no_mmap ? Access::kRead
                              : options.mlock ? Access::kMapLocked
                                              : Access::kMap;
  if (options.model.path.empty()) {
    QUERN_TRY(options.model.path, bundled_model());
  }
  const bool one_prompt = options.has_prompt || !options.prompt_file.empty() || options.json ||
                          !stdin_is_terminal() || !stdout_is_terminal();
  // A wrong sampling option is reported before a large model is loaded.
  engine::SamplerOptions trial;
  for (const auto& [name, value] : options.sampling) QUERN_CHECK(set_option(trial, name, value));

  QUERN_TRY(const std::unique_ptr<RunModel> model, load(options.model));
  std::vector<std::string> warnings = model->warnings();
  if (!options.system.empty() && !model->uses_system()) {
    warnings.push_back("the model's chat template drops system messages: --system has no effect");
  }
  print_warnings(warnings);
  if (options.statistics) report_memory(*model, "loaded");
  QUERN_CHECK(use(*model, options, one_prompt));
  const std::string above = model->above_plan();
  if (!above.empty()) print_warnings({&above, 1});
  return {};
}

void add_sampling_options(CLI::App& command, RunOptions& options) {
  const auto add = [&](std::string name, std::string_view help, const char* type) {
    std::ranges::replace(name, '_', '-');
    command
        .add_option_function<std::vector<std::string>>(
            "--" + name,
            [&options, name](const std::vector<std::string>& values) {
              for (const std::string& value : values) options.sampling.emplace_back(name, value);
            },
            std::string(help))
        ->expected(1)
        ->allow_extra_args(false)  // what follows may be MODEL
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->option_text(type)
        ->group("Sampling");
  };
  for (const engine::OptionRow& row : engine::option_rows()) {
    add(std::string(row.name), row.help, "VALUE");
  }
  add("logit_bias", "add BIAS to the logit of a token; -inf bans it (repeatable)", "ID=BIAS");
  command
      .add_option("--dry-breaker", options.model.dry_breakers,
                  "text that a repetition does not extend across (repeatable; default: newline, "
                  "colon, quote, asterisk)")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->option_text("TEXT")
      ->group("Sampling");
}

void add_model_options(CLI::App& command, RunOptions& options) {
  command
      .add_option_function<uint32_t>(
          "--ctx",
          [&options](uint32_t context) {
            options.model.engine.context = context;
            options.model.freedom.context = context == 0;
          },
          "context in tokens (0, the default: the model's, at most 8192, less if memory is short)")
      ->check(CLI::Range(0u, RunModelOptions::kMostContext))
      ->option_text("N");
  command
      .add_option("--threads", options.model.engine.threads, "threads (default: all processors)")
      ->check(CLI::Range(1, 1024))
      ->option_text("N");
  add_placement_options(command, options.model.engine.placement);
  auto* cache = add_cache_option(command, options.model.engine.cache);
  cache->each([&options](const std::string&) { options.model.freedom.cache = false; });
  add_size_option(command, "--ram", options.model.ram,
                  "memory that the model may take (default: what is free)");
  add_size_option(command, "--vram", options.model.vram,
                  "memory of each device that it may take (default: what is free)");
  command.add_flag("--force", options.model.force, "run even what does not fit into memory");
  auto* no_mmap = command.add_flag("--no-mmap", options.no_mmap,
                                   "copy the file into memory instead of mapping it");
  command.add_flag("--mlock", options.mlock, "lock the mapped file in memory")->excludes(no_mmap);
}

}  // namespace

void add_run(CLI::App& app, Run& run) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "Chat with a model, or answer one prompt");
  command->footer(
      "With a terminal this is a chat. Otherwise, or with -p, -f or --json, it reads one prompt "
      "and\nprints the answer and nothing else.\n"
      "Examples:\n"
      "  quern run\n"
      "  quern run model.gguf --ctx 4096 --temp 0.7\n"
      "  echo 'What is the opposite of big?' | quern run model.gguf -n 64 --temp 0\n"
      "  quern run -p 'Once upon a time' --raw -n 200");
  command->add_option("MODEL", options->model.path, "GGUF model (default: the bundled one)");
  auto* prompt =
      command->add_option("-p,--prompt", options->prompt, "the prompt")->option_text("TEXT");
  command->add_option("-f,--file", options->prompt_file, "read the prompt from a file")
      ->option_text("FILE")
      ->excludes(prompt);
  command->add_option("--system", options->system, "system message")->option_text("TEXT");
  auto* raw = command->add_flag("--raw", options->model.raw, "the text as it is, no chat template");
  command
      ->add_flag("--special", options->model.raw_special,
                 "with --raw: read texts of control tokens as those tokens")
      ->needs(raw);
  command->add_flag("--json", options->json, "one JSON object per token, then a summary");
  command->add_flag("--stats", options->statistics,
                    "show times after each answer, and memory: planned and measured");
  command->add_option("-n", options->limit, "tokens per answer (default: until the model ends)")
      ->option_text("N");
  add_model_options(*command, *options);
  add_sampling_options(*command, *options);
  command->callback([options, prompt, &run] {
    options->has_prompt = prompt->count() > 0;
    run = [options] { return run_model(*options); };
  });
}

}  // namespace quern::tools

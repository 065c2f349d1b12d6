// `quern compare`: how far models' predictions are from those of a reference.
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "tools/commands.h"
#include "tools/output.h"
#include "tools/quality_options.h"

namespace quern::tools {
namespace {

struct CompareOptions : QualityOptions {
  std::vector<std::string> arguments;  // models, the reference unless `exact`, the text
  bool exact = false;
  std::vector<std::string> models;
  std::string reference;
};

// A model and what came out.
struct Entry {
  std::string path;
  uint64_t bytes = 0;
  engine::Comparison comparison;
};

Status take_arguments(CompareOptions& options) {
  const size_t others = options.exact ? 1 : 2;
  if (options.arguments.size() < others + 1) {
    return bad_input("compare-arguments", options.exact
                                              ? "--exact takes one or more models and a text"
                                              : "compare takes one or more models, then the "
                                                "reference and a text");
  }
  options.text = options.arguments.back();
  options.models.assign(options.arguments.begin(),
                        options.arguments.end() - static_cast<long>(others));
  if (!options.exact) options.reference = options.arguments[options.arguments.size() - 2];
  return {};
}

// Computes all windows with the reference (the first engine) and the models, side by side.
Status compare(std::span<const std::unique_ptr<engine::Engine>> loaded, std::span<Entry> entries,
               const TextWindows& text) {
  std::vector<engine::Engine*> engines;
  for (const auto& engine : loaded) {
    if (engine->vocabulary() != loaded[0]->vocabulary()) {
      return bad_input(
          "compare-vocabulary",
          fmt::format("{} has {} tokens, the reference {}", escape(engine->file().path(), 256),
                      engine->vocabulary(), loaded[0]->vocabulary()));
    }
    engines.push_back(engine.get());
  }
  const engine::CancelToken never{false};
  WindowProgress progress("window", text.windows.size());
  for (size_t i = 0; i < text.windows.size(); ++i) {
    QUERN_CHECK(
        engine::visit_predictions(engines, text.windows[i], never, [&](auto logits, int32_t next) {
          for (size_t k = 0; k < entries.size(); ++k) {
            entries[k].comparison.add(logits[0], logits[k + 1], next);
          }
        }));
    progress.done(i + 1);
  }
  return {};
}

// Loads the reference and the models `entries` name, and compares them.
Status compare_with(const std::string& reference, bool exact, std::span<Entry> entries,
                    const CompareOptions& options) {
  std::vector<std::unique_ptr<engine::Engine>> engines;
  QUERN_TRY(gguf::File file, gguf::File::open(reference));
  QUERN_TRY(const TextWindows text, open_windows(file, options));
  CompareOptions own = options;
  if (exact) own.engine.placement.devices = {"reference"};
  QUERN_TRY(auto first, load_for_windows(std::move(file), own, text.context));
  engines.push_back(std::move(first));
  for (Entry& entry : entries) {
    QUERN_TRY(gguf::File model, gguf::File::open(entry.path));
    entry.bytes = model.size_bytes();
    QUERN_TRY(auto engine, load_for_windows(std::move(model), options, text.context));
    engines.push_back(std::move(engine));
  }
  return compare(engines, entries, text);
}

nlohmann::ordered_json to_json(const Entry& entry) {
  const engine::Comparison& c = entry.comparison;
  const auto pair = [](const engine::Estimate& e) {
    return nlohmann::ordered_json{{"value", e.value}, {"error", e.error}};
  };
  return {{"model", entry.path},
          {"bytes", entry.bytes},
          {"predictions", c.count()},
          {"kl_mean", pair(c.divergence())},
          {"kl_median", c.divergence_quantile(0.5)},
          {"kl_p99", c.divergence_quantile(0.99)},
          {"top1_agreement", pair(c.agreement())},
          {"perplexity", pair(c.perplexity())},
          {"reference_perplexity", pair(c.reference_perplexity())},
          {"perplexity_ratio", pair(c.ratio())}};
}

std::string table(std::span<const Entry> entries) {
  size_t width = 5;
  for (const Entry& e : entries) width = std::max(width, e.path.size());
  std::string text = fmt::format("{:<{}}  {:>9}  {:>21}  {:>9}  {:>9}  {:>16}  {:>17}  {:>8}\n",
                                 "model", width, "size", "KL mean", "median", "99 %",
                                 "same first choice", "perplexity ratio", "perplexity");
  for (const Entry& e : entries) {
    const engine::Comparison& c = e.comparison;
    const auto kl = c.divergence(), agreement = c.agreement(), ratio = c.ratio();
    text += fmt::format(
        "{:<{}}  {:>6.2f} MB  {:.3e} +- {:.1e}  {:.3e}  {:.3e}  {:>8.3f} +- {:.3f} %  {:.5f} +- "
        "{:.5f}  {:>9.4f}\n",
        printable(e.path), width, static_cast<double>(e.bytes) / 1e6, kl.value, kl.error,
        c.divergence_quantile(0.5), c.divergence_quantile(0.99), 100 * agreement.value,
        100 * agreement.error, ratio.value, ratio.error, c.perplexity().value);
  }
  const engine::Comparison& first = entries.front().comparison;
  const auto reference = first.reference_perplexity();
  return text + fmt::format("reference: perplexity {:.4f} +- {:.4f}, {} predictions\n",
                            reference.value, reference.error, first.count());
}

Status print_comparison(CompareOptions options) {
  QUERN_CHECK(take_arguments(options));
  std::vector<Entry> entries;
  for (const std::string& model : options.models) entries.push_back({model, 0, {}});
  if (options.exact) {
    for (Entry& entry : entries) {
      QUERN_CHECK(compare_with(entry.path, true, std::span(&entry, 1), options));
    }
  } else {
    QUERN_CHECK(compare_with(options.reference, false, entries, options));
  }
  if (!options.json) return write_stdout(table(entries));
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const Entry& entry : entries) json.push_back(to_json(entry));
  return write_stdout(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace

void add_compare(CLI::App& app, Run& run) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command = app.add_subcommand(
      "compare", "Measure how far models' predictions are from those of a reference");
  command->footer(
      "Examples:\n"
      "  quern compare model-Q4_K_M.gguf model-Q3_K_M.gguf model-f16.gguf text.txt\n"
      "  quern compare --exact model-Q4_K_M.gguf text.txt --chunks 4\n"
      "KL is the Kullback-Leibler divergence from the reference's probabilities to the model's, "
      "in\n"
      "nats. With --exact every model is compared with itself, computed without the quantized\n"
      "activations and cache of the fast kernels: what the kernels cost, not the weights. Slow.");
  command
      ->add_option("MODELS", options->arguments,
                   "GGUF models, the one to compare them with, and a text file")
      ->required()
      ->option_text("MODEL... REF TEXT");
  command->add_flag("--exact", options->exact,
                    "leave REF out: compare with the same file in plain f32 arithmetic");
  add_quality_options(*command, *options);
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &run] { run = [options] { return print_comparison(*options); }; });
}

}  // namespace quern::tools

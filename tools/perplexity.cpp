// `quern perplexity`: how well a model predicts a text.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "tools/commands.h"
#include "tools/output.h"
#include "tools/quality_options.h"

namespace quern::tools {
namespace {

struct PerplexityOptions : QualityOptions {
  std::string model;
};

Status print_perplexity(const PerplexityOptions& options) {
  QUERN_TRY(gguf::File file, gguf::File::open(options.model));
  QUERN_TRY(const TextWindows text, open_windows(file, options));
  QUERN_TRY(const auto loaded, load_for_windows(std::move(file), options, text.context));
  engine::MeanOf loss;
  {
    engine::Engine* const engines[] = {loaded.get()};
    const engine::CancelToken never{false};
    WindowProgress progress("window", text.windows.size());
    for (size_t i = 0; i < text.windows.size(); ++i) {
      QUERN_CHECK(engine::visit_predictions(
          engines, text.windows[i], never, [&](auto logits, int32_t next) {
            loss.add(engine::log_sum_exp(logits[0]) - logits[0][static_cast<size_t>(next)]);
          }));
      progress.done(i + 1);
    }
  }
  const engine::Estimate perplexity = loss.exponential();
  if (options.json) {
    const nlohmann::ordered_json json = {{"perplexity", perplexity.value},
                                         {"error", perplexity.error},
                                         {"predictions", loss.count()},
                                         {"windows", text.windows.size()},
                                         {"context", text.context}};
    return write_stdout(json.dump(2) + "\n");
  }
  return write_stdout(fmt::format(
      "perplexity {:.4f} +- {:.4f}  ({} predictions in {} windows of {} "
      "tokens)\n",
      perplexity.value, perplexity.error, loss.count(), text.windows.size(), text.context));
}

}  // namespace

void add_perplexity(CLI::App& app, Run& run) {
  auto options = std::make_shared<PerplexityOptions>();
  CLI::App* command = app.add_subcommand("perplexity", "Measure how well a model predicts a text");
  command->footer(
      "Example: quern perplexity model.gguf text.txt --context 256\n"
      "Perplexity is e to the mean of -log(probability of the token that came). The defaults are\n"
      "those of other tools: windows side by side, whose second half is scored.");
  command->add_option("MODEL", options->model, "GGUF model")->required();
  command->add_option("TEXT", options->text, "text file")->required();
  add_quality_options(*command, *options);
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &run] { run = [options] { return print_perplexity(*options); }; });
}

}  // namespace quern::tools

// `quern imatrix`: collects importance data for `quern quantize` from a text.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "engine/importance.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/quality_options.h"

namespace quern::tools {
namespace {

struct ImatrixOptions : QualityOptions {
  std::string model, out;
};

Status collect(const ImatrixOptions& options) {
  QUERN_TRY(gguf::File file, gguf::File::open(options.model));
  QUERN_TRY(TextWindows text, open_windows(file, options));
  QUERN_TRY(const auto loaded, load_for_windows(std::move(file), options, text.context));
  engine::ImportanceCollector collector(loaded->model().weights);
  loaded->observe_inputs([&](std::string_view weight, size_t expert, std::span<const float> rows,
                             size_t values) { collector.add(weight, expert, rows, values); });
  engine::MeanOf loss;
  {
    engine::Engine* const engines[] = {loaded.get()};
    const engine::CancelToken never{false};
    WindowProgress progress("window", text.windows.size());
    for (size_t i = 0; i < text.windows.size(); ++i) {
      text.windows[i].first = 0;  // the output matrix sees every position, too
      QUERN_CHECK(engine::visit_predictions(
          engines, text.windows[i], never, [&](auto logits, int32_t next) {
            loss.add(engine::log_sum_exp(logits[0]) - logits[0][static_cast<size_t>(next)]);
          }));
      progress.done(i + 1);
    }
  }
  engine::Importance importance = collector.result();
  importance.chunks = static_cast<uint32_t>(text.windows.size());
  importance.chunk_size = text.context;
  QUERN_CHECK(importance.write(options.out, options.text));
  const engine::Estimate perplexity = loss.exponential();
  if (options.json) {
    const nlohmann::ordered_json json = {{"matrices", importance.tensors.size()},
                                         {"windows", text.windows.size()},
                                         {"context", text.context},
                                         {"perplexity", perplexity.value},
                                         {"error", perplexity.error}};
    return write_stdout(json.dump(2) + "\n");
  }
  return write_stdout(
      fmt::format("{} matrices, {} windows of {} tokens, perplexity {:.4f} +- {:.4f}\n",
                  importance.tensors.size(), text.windows.size(), text.context, perplexity.value,
                  perplexity.error));
}

}  // namespace

void add_imatrix(CLI::App& app, Run& run) {
  auto options = std::make_shared<ImatrixOptions>();
  CLI::App* command =
      app.add_subcommand("imatrix", "Collect importance data for quantize from a text");
  command->footer(
      "Example: quern imatrix model-f16.gguf text.txt -o importance.gguf\n"
      "The text should be like what the model will read and write; 50000 tokens are plenty. The\n"
      "file has the GGUF form that other tools use.");
  command->add_option("MODEL", options->model, "GGUF model, best unquantized")->required();
  command->add_option("TEXT", options->text, "text file")->required();
  command->add_option("-o,--output", options->out, "GGUF file to write")->required();
  add_quality_options(*command, *options);
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &run] { run = [options] { return collect(*options); }; });
}

}  // namespace quern::tools

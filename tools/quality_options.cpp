#include "tools/quality_options.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "engine/metadata.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/placement_options.h"

namespace quern::tools {

void add_quality_options(CLI::App& command, QualityOptions& options) {
  command
      .add_option(
          "--context", options.context,
          fmt::format("tokens that the model sees at once (default: the model's, at most {})",
                      QualityOptions::kDefaultContext))
      ->check(CLI::Range(2, 1 << 24));
  command
      .add_option("--stride", options.stride,
                  "tokens from one window to the next (default: --context); a window scores its\n"
                  "last STRIDE predictions, but not its first half")
      ->check(CLI::Range(1, 1 << 24));
  command.add_option("--chunks", options.chunks, "windows to compute (default: all)")
      ->check(CLI::Range(1, 1 << 30));
  command.add_option("--threads", options.engine.threads, "threads (default: all processors)")
      ->check(CLI::Range(1, 1024));
  add_cache_option(command, options.engine.cache);
  add_placement_options(command, options.engine.placement);
}

Result<std::string> read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(in), {});
  if (!in.is_open() || in.bad() || text.empty()) {
    auto error = bad_input("text", "the text cannot be read, or is empty");
    error.value().path = path;
    return error;
  }
  return text;
}

Result<TextWindows> open_windows(const gguf::File& file, const QualityOptions& options) {
  QUERN_TRY(const std::string text, read_text(options.text));
  QUERN_TRY(const engine::Model model, engine::read_model(file));
  QUERN_TRY(const engine::Tokenizer tokenizer, engine::Tokenizer::from_file(file));
  print_warnings(tokenizer.warnings());
  if (tokenizer.size() == 0) {
    return bad_input("tokenizer-none", "the model has no tokenizer, so it cannot read a text");
  }
  const uint32_t context = options.context > 0
                               ? options.context
                               : std::min(model.config.context, QualityOptions::kDefaultContext);
  if (context > model.config.context) {
    return bad_input("context-range", fmt::format("--context {} is more than the {} positions that "
                                                  "the model was trained for",
                                                  context, model.config.context));
  }
  if (options.stride > context) {
    return bad_input("context-range", fmt::format("--stride {} is more than a window of {} tokens",
                                                  options.stride, context));
  }
  QUERN_TRY(std::vector<engine::Window> windows,
            engine::cut_windows(
                tokenizer, text,
                {context, options.stride > 0 ? options.stride : context, options.chunks}));
  return TextWindows{context, std::move(windows)};
}

Result<std::unique_ptr<engine::Engine>> load_for_windows(gguf::File file,
                                                         const QualityOptions& options,
                                                         uint32_t context) {
  QUERN_TRY(auto loaded,
            engine::Engine::load(std::move(file), engine::window_engine(options.engine, context)));
  print_warnings(loaded->model().warnings);
  return loaded;
}

void WindowProgress::done(size_t windows) {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const double left =
      elapsed.count() / static_cast<double>(windows) * static_cast<double>(count_ - windows);
  line_.say(fmt::format("{} {} of {}, {:.0f} s left", what_, windows, count_, left));
}

}  // namespace quern::tools

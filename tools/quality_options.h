// What `quern perplexity`, `quern compare` and `quern imatrix` share: a text, windows over it, and
// engines to compute them with.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/quality.h"
#include "tools/terminal.h"

namespace quern::tools {

struct QualityOptions {
  std::string text;              // path
  uint32_t context = 0;          // 0: the model's, at most kDefaultContext
  uint32_t stride = 0;           // 0: context
  uint32_t chunks = 0;           // 0: all
  engine::EngineOptions engine;  // threads, cache
  bool json = false;

  static constexpr uint32_t kDefaultContext = 512;
};

// --context, --stride, --chunks, --threads, --kv.
void add_quality_options(CLI::App& command, QualityOptions& options);

// The whole file. Error: "text" (cannot be read).
Result<std::string> read_text(const std::string& path);

// Windows of the text for a model, with defaults filled in. Errors: "text", "text-short",
// "context-range", "tokenizer-none".
struct TextWindows {
  uint32_t context;
  std::vector<engine::Window> windows;
};
Result<TextWindows> open_windows(const gguf::File& file, const QualityOptions& options);

// An engine for windows of that size. Errors: those of Engine::load.
Result<std::unique_ptr<engine::Engine>> load_for_windows(gguf::File file,
                                                         const QualityOptions& options,
                                                         uint32_t context);

// Shows "WHAT 3 of 20, 12 s left" while windows are computed.
class WindowProgress {
 public:
  WindowProgress(std::string what, size_t count) : what_(std::move(what)), count_(count) {}
  void done(size_t windows);

 private:
  std::string what_;
  size_t count_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  Progress line_{what_};
};

}  // namespace quern::tools

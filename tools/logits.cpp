// `quern logits`: the logits of every given token, for comparison with other engines.
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "engine/engine.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/placement_options.h"
#include "tools/plan_budget.h"

namespace quern::tools {
namespace {

struct LogitsOptions {
  std::string file, out;
  std::vector<int32_t> ids;
  size_t threads = 0;
  uint32_t chunk = 512;
  kernels::CacheType cache = kernels::CacheType::kF16;
  engine::Placement placement;
  bool force = false;
};

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

Status write_failed(const std::string& path) {
  return fail(ErrorKind::kFailure, "write", fmt::format("cannot write {}", escape(path, 256)));
}

Status print_logits(const LogitsOptions& options) {
  QUERN_TRY(gguf::File file, gguf::File::open(options.file));
  engine::EngineOptions engine_options{.threads = options.threads,
                                       .context = static_cast<uint32_t>(options.ids.size()),
                                       .cache = options.cache,
                                       .batch_rows = options.chunk,
                                       .logit_rows = options.chunk,
                                       .placement = options.placement};
  QUERN_CHECK(place_within_budget(file, engine_options, options.force));
  QUERN_TRY(const std::unique_ptr<engine::Engine> engine,
            engine::Engine::load(std::move(file), engine_options));
  print_warnings(engine->model().warnings);
  const std::unique_ptr<std::FILE, CloseFile> out(std::fopen(options.out.c_str(), "wb"));
  if (!out) return write_failed(options.out);

  engine::Sequence sequence = engine->new_sequence();
  const engine::CancelToken never{false};
  for (size_t first = 0; first < options.ids.size(); first += options.chunk) {
    std::vector<engine::Row> rows;
    for (size_t i = first; i < std::min(first + options.chunk, options.ids.size()); ++i) {
      rows.push_back({&sequence, options.ids[i], true});
    }
    QUERN_TRY(const std::span<const float> logits, engine->step(rows, never));
    if (std::fwrite(logits.data(), sizeof(float), logits.size(), out.get()) != logits.size()) {
      return write_failed(options.out);
    }
  }
  if (std::fflush(out.get()) != 0) return write_failed(options.out);
  return {};
}

}  // namespace

void add_logits(CLI::App& app, Run& run) {
  auto options = std::make_shared<LogitsOptions>();
  CLI::App* command = app.add_subcommand("logits", "Write the logits of every given token");
  command->footer(
      "Example: quern logits model.gguf --ids 1,15043,3186 --out logits.f32\n"
      "The file holds little-endian float32, [tokens, vocabulary].");
  command->add_option("FILE", options->file, "GGUF model")->required();
  command->add_option("--ids", options->ids, "token ids, separated by commas")
      ->required()
      ->delimiter(',');
  command->add_option("--out", options->out, "file to write")->required();
  command->add_option("--threads", options->threads, "threads (default: all processors)")
      ->check(CLI::Range(1, 1024));
  command->add_option("--chunk", options->chunk, "tokens computed together")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  add_cache_option(*command, options->cache);
  add_placement_options(*command, options->placement);
  command->add_flag("--force", options->force, "compute even what does not fit into memory");
  command->callback([options, &run] { run = [options] { return print_logits(*options); }; });
}

}  // namespace quern::tools

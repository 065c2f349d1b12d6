// The subcommands of the `quern` program: one source file each.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <string>

#include "gguf/result.h"
#include "kernels/backend.h"

namespace quern::tools {

// Each add_* function declares one subcommand with its options; when the user chose it, `run` is
// set to what it does. The result decides the exit code: 0, 2 for bad input, 1 for failure.
using Run = std::function<Status()>;

// --kv f32|f16|q8_0, shared by the commands that run a model.
inline CLI::Option* add_cache_option(CLI::App& command, kernels::CacheType& cache) {
  const std::map<std::string, kernels::CacheType> names = {{"f32", kernels::CacheType::kF32},
                                                           {"f16", kernels::CacheType::kF16},
                                                           {"q8_0", kernels::CacheType::kQ8_0}};
  return command
      .add_option("--kv", cache, "type of the key/value cache: f32, f16 (default) or q8_0")
      ->transform(CLI::CheckedTransformer(names, CLI::ignore_case))
      ->option_text("TYPE");
}

void add_run(CLI::App& app, Run& run);
void add_inspect(CLI::App& app, Run& run);
void add_tokenize(CLI::App& app, Run& run);
void add_logits(CLI::App& app, Run& run);
void add_plan(CLI::App& app, Run& run);
void add_synth(CLI::App& app, Run& run);
void add_quantize(CLI::App& app, Run& run);
void add_imatrix(CLI::App& app, Run& run);
void add_perplexity(CLI::App& app, Run& run);
void add_compare(CLI::App& app, Run& run);
void add_conform(CLI::App& app, Run& run);
void add_bench(CLI::App& app, Run& run);
void add_doctor(CLI::App& app, Run& run);

}  // namespace quern::tools

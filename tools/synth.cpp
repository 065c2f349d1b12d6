// `quern synth`: writes a random-weight model of a real shape and prints its SHA-256, as sha256sum
// does: equal seeds must give equal files on every machine.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "bench/digest.h"
#include "engine/synthetic_model.h"
#include "tools/commands.h"

namespace quern::tools {
namespace {

struct SynthOptions {
  std::string shape, out, type = "Q4_K_M";
  uint64_t seed = 1;
};

template <typename Rows>
std::string names(const Rows& rows) {
  std::vector<std::string_view> all;
  for (const auto& row : rows) all.push_back(row.name);
  return fmt::format("{}", fmt::join(all, ", "));
}

Status synthesize(const SynthOptions& options) {
  const engine::SyntheticShape* shape = engine::find_synthetic_shape(options.shape);
  if (!shape) {
    return bad_input("synth-shape", fmt::format("no shape {}; there are {}", escape(options.shape),
                                                names(engine::synthetic_shapes())));
  }
  const engine::Mix* mix = engine::find_mix(options.type);
  if (!mix) {
    return bad_input("synth-type", fmt::format("no type {}; there are {}", escape(options.type),
                                               names(engine::mixes())));
  }
  QUERN_CHECK(engine::synthetic_model(*shape, *mix, options.seed).write(options.out));
  QUERN_TRY(const gguf::File file, gguf::File::open(options.out));
  QUERN_TRY(const std::string digest, bench::sha256(file.parts()[0].bytes));
  fmt::print("{}  {}\n", digest, options.out);
  return {};
}

}  // namespace

void add_synth(CLI::App& app, Run& run) {
  auto options = std::make_shared<SynthOptions>();
  CLI::App* command = app.add_subcommand("synth", "Write a random-weight model of a real shape");
  command->footer(
      fmt::format("Example: quern synth llama-1b -o model.gguf --type Q4_K_M\n"
                  "Shapes: {}\nTypes: {}",
                  names(engine::synthetic_shapes()), names(engine::mixes())));
  command->add_option("SHAPE", options->shape, "name of the shape")->required();
  command->add_option("-o,--output", options->out, "GGUF file to write")->required();
  command->add_option("--type", options->type, "quantization mix")->capture_default_str();
  command->add_option("--seed", options->seed, "equal seeds give equal files")
      ->capture_default_str();
  command->callback([options, &run] { run = [options] { return synthesize(*options); }; });
}

}  // namespace quern::tools

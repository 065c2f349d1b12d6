// `quern plan`: will a model fit, what takes the memory, and how fast will it be?
#include <fmt/format.h>

#include <memory>

#include "engine/synthetic_model.h"
#include "tools/commands.h"
#include "tools/machine_file.h"
#include "tools/output.h"
#include "tools/placement_options.h"
#include "tools/plan_report.h"
#include "tools/sizes.h"

namespace quern::tools {
namespace {

struct PlanOptions {
  std::string model, profile;
  PlanRequest request;
  uint64_t ram = 0, vram = 0;
  bool json = false, no_mmap = false, what_fits = false, no_speed = false;
};

// The machine to plan for, and the memory that it has to spare.
struct Target {
  std::optional<engine::MachineSpeeds> machine;
  std::optional<MemoryBudget> budget;
};

Result<Target> choose_target(PlanOptions& options) {
  Target target;
  if (!options.profile.empty()) {
    QUERN_TRY(const Machine machine, read_machine(options.profile));
    target.machine = machine.speeds;
    if (options.request.engine.threads == 0) {
      options.request.engine.threads = machine.speeds.peaks.threads;
    }
    if (options.ram == 0 && machine.memory > 0) {
      target.budget = MemoryBudget{machine.memory, "said by the profile"};
    }
    if (options.ram > 0) target.budget = memory_budget(options.ram);
    return target;
  }
  target.budget = memory_budget(options.ram);
  if (!options.no_speed) {
    QUERN_TRY(target.machine, this_machine(options.request.engine.threads));
  }
  return target;
}

// The common shapes, quantized as usual, on this machine.
Status rank_shapes(const PlanOptions& options, const Target& target) {
  std::vector<PlanRow> rows;
  for (const engine::SyntheticShape& shape : engine::synthetic_shapes()) {
    if (shape.name.starts_with("tiny")) continue;
    for (const char* mix : {"Q4_K_M", "Q8_0"}) {
      QUERN_TRY(const gguf::File file,
                engine::synthetic_model(shape, *engine::find_mix(mix), 0).outline("shape"));
      QUERN_TRY(const engine::Model model, engine::read_model(file));
      QUERN_TRY(const auto plan,
                plan_memory(file, model, options.request.engine, options.request.access));
      PlanRow row{fmt::format("{} {}", shape.name, mix), plan.host_peak(), 0, true, {}};
      row.fits = !target.budget || row.peak <= target.budget->bytes;
      if (target.machine) {
        row.speed = predict_speed(token_work(model, plan.options.cache), *target.machine,
                                  plan.options.context / 2);
      }
      rows.push_back(std::move(row));
    }
  }
  return write_stdout(row_table("model", rows));
}

Status plan(PlanOptions options) {
  if (options.no_mmap) options.request.access = gguf::OpenOptions::Access::kRead;
  if (options.what_fits) {
    QUERN_TRY(const Target target, choose_target(options));
    return rank_shapes(options, target);
  }
  if (options.model.empty()) return bad_input("plan-model", "plan needs a MODEL, or --what-fits");
  QUERN_TRY(const gguf::File file, gguf::File::open(options.model));
  QUERN_TRY(const engine::Model model, engine::read_model(file));
  QUERN_TRY(const Target target, choose_target(options));  // last: it may take seconds
  options.request.budget = target.budget;
  QUERN_CHECK(find_devices(options.request, options.vram));
  auto fit = plan_within_budget(file, model, options.request);
  if (!fit && fit.error().code == "memory-budget") {  // a plan that does not fit is an answer, too
    options.request.force = true;
    fit = plan_within_budget(file, model, options.request);
  }
  if (!fit) return tl::unexpected(fit.error());
  QUERN_TRY(const PlanReport report,
            make_report(file, model, *fit, options.request, target.machine));
  return write_stdout(options.json ? plan_json(report) : plan_text(report));
}

}  // namespace

void add_plan(CLI::App& app, Run& run) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command = app.add_subcommand("plan", "Will a model fit, and how fast will it be?");
  command->footer(
      "Nothing is loaded: the answer comes from the file's metadata (docs/memory.md).\n"
      "Examples:\n"
      "  quern plan model.gguf\n"
      "  quern plan model.gguf --ctx 32768 --kv q8_0 --ram 16G\n"
      "  quern plan model.gguf --profile other-machine.json --json\n"
      "  quern plan --what-fits");
  engine::EngineOptions& engine = options->request.engine;
  command->add_option("MODEL", options->model, "GGUF model");
  auto* context = command
                      ->add_option("--ctx", engine.context,
                                   "context in tokens (0, the default: the model's, at most 8192)")
                      ->check(CLI::Range(0u, 1u << 24))
                      ->option_text("N");
  auto* cache = add_cache_option(*command, engine.cache);
  command->add_option("--batch", engine.batch_rows, "tokens computed in one step")
      ->check(CLI::Range(1u, 65536u))
      ->capture_default_str()
      ->option_text("N");
  command->add_option("--parallel", engine.sequences, "texts at the same time, each with --ctx")
      ->check(CLI::Range(1u, 4096u))
      ->capture_default_str()
      ->option_text("N");
  command->add_option("--threads", engine.threads, "threads (default: all processors)")
      ->check(CLI::Range(1, 1024))
      ->option_text("N");
  add_placement_options(*command, engine.placement);
  add_size_option(*command, "--ram", options->ram, "memory to plan for (default: what is free)");
  add_size_option(*command, "--vram", options->vram,
                  "memory of each device to plan for (default: what is free)");
  command->add_flag("--no-mmap", options->no_mmap, "with the file copied into memory");
  auto* profile = command
                      ->add_option("--profile", options->profile,
                                   "plan for the machine of this profile, as a plan stores it in "
                                   "the folder ~/.cache/quern")
                      ->option_text("FILE");
  command->add_flag("--no-speed", options->no_speed, "do not measure this machine")
      ->excludes(profile);
  command->add_flag("--what-fits", options->what_fits, "common model shapes on this machine");
  command->add_flag("--json", options->json, "print JSON (docs/plan-schema.json)");
  command->callback([options, context, cache, &run] {
    options->request.freedom = {context->count() == 0, cache->count() == 0};
    run = [options] { return plan(*options); };
  });
}

}  // namespace quern::tools

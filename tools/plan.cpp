// `quern plan`: will a model fit, what takes the memory, and how fast will it be?
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "bench/model_source.h"
#include "engine/synthetic_model.h"
#include "tools/commands.h"
#include "tools/machine_file.h"
#include "tools/output.h"
#include "tools/placement_options.h"
#include "tools/plan_report.h"
#include "tools/sizes.h"

namespace quern::tools {
namespace {

// A plan that does not fit is an answer, too.
Result<engine::Fit> plan_anyway(const gguf::File& file, const engine::Model& model,
                                const PlanRequest& request) {
  auto fit = plan_within_budget(file, model, request);
  if (fit || fit.error().code != "memory-budget") return fit;
  engine::Fit asked;
  QUERN_TRY(asked.plan, plan_memory(file, model, request.engine, request.access, request.devices));
  return asked;
}

struct PlanOptions {
  std::string model, profile;
  PlanRequest request;
  uint64_t ram = 0, vram = 0;
  bool json = false, no_mmap = false, what_fits = false, no_speed = false;
};

// Fills in the machine that the request is planned for: that of a profile.
Status use_profile(PlanOptions& options) {
  PlanRequest& request = options.request;
  QUERN_TRY(const Machine machine, read_machine(options.profile));
  request.speeds = machine.speeds;
  if (request.engine.threads == 0) request.engine.threads = machine.speeds.peaks.threads;
  request.budget.reset();
  if (machine.memory > 0) request.budget = MemoryBudget{machine.memory, "said by the profile"};
  for (const std::string& name : request.engine.placement.devices) {
    const auto found = std::ranges::find(machine.devices, name, &engine::DeviceProfile::name);
    if (found == machine.devices.end() && name != engine::kReferenceDevice) {
      return bad_input("device-name", fmt::format("the profile has no device {}", escape(name)));
    }
    const engine::DeviceProfile device =
        found != machine.devices.end()
            ? *found
            : engine::DeviceProfile{.name = name, .description = "", .in_host = true};
    request.devices.push_back(device);
    request.device_budgets.push_back(device_budget(device, options.vram));
  }
  return {};
}

// The same for this machine; `formats`: see MachineNeeds. Last of all, as it may take seconds.
Status use_this_machine(PlanOptions& options, std::vector<std::set<gguf::Format>> formats) {
  PlanRequest& request = options.request;
  request.budget = memory_budget(options.ram);
  QUERN_CHECK(say_missing_devices(request.engine.placement));
  QUERN_CHECK(find_devices(request, options.vram));
  if (options.no_speed) return {};
  QUERN_TRY(Machine machine, this_machine({.threads = request.engine.threads,
                                           .devices = request.engine.placement.devices,
                                           .formats = std::move(formats)}));
  request.speeds = std::move(machine.speeds);
  return {};
}

Status choose_machine(PlanOptions& options, std::vector<std::set<gguf::Format>> formats) {
  if (options.profile.empty()) {
    QUERN_CHECK(use_this_machine(options, std::move(formats)));
  } else {
    QUERN_CHECK(use_profile(options));
    if (options.ram > 0) options.request.budget = memory_budget(options.ram);
  }
  share_layers(options.request);
  return {};
}

// Whether it stands for models that people use: not a toy, nor a few layers of a model.
bool is_common(const engine::SyntheticShape& shape) {
  const auto is_whole_of = [&](const engine::SyntheticShape& other) {
    return shape.name.starts_with(fmt::format("{}-", other.name));
  };
  return !shape.name.starts_with("tiny") &&
         std::ranges::none_of(engine::synthetic_shapes(), is_whole_of);
}

// What fits comes first, the fastest of it first of all, or else the smallest.
bool ranks_before(const PlanRow& a, const PlanRow& b) {
  if (a.fits != b.fits) return a.fits;
  if (a.fits && a.speed && b.speed) return a.speed->decode > b.speed->decode;
  return a.peak + a.device_peak < b.peak + b.device_peak;
}

// The common shapes, quantized as usual, on this machine.
Status rank_shapes(PlanOptions& options) {
  using gguf::Format;
  QUERN_CHECK(choose_machine(options, {{Format::Q4_K, Format::Q6_K, Format::Q8_0}}));
  PlanRequest& request = options.request;
  request.freedom = {false, false};  // rows are compared, so that all are the same
  std::vector<PlanRow> rows;
  for (const engine::SyntheticShape& shape : engine::synthetic_shapes()) {
    if (!is_common(shape)) continue;
    for (const char* mix : {"Q4_K_M", "Q8_0"}) {
      QUERN_TRY(const gguf::File file,
                engine::synthetic_model(shape, *engine::find_mix(mix), 0).outline("shape"));
      QUERN_TRY(const engine::Model model, engine::read_model(file));
      QUERN_TRY(const auto fit, plan_anyway(file, model, request));
      const engine::MemoryPlan& plan = fit.plan;
      PlanRow row{fmt::format("{} {}", shape.name, mix),
                  plan.host_peak(),
                  plan.device_peak(),
                  plan.fits(request.budgets()),
                  {}};
      if (request.speeds) {
        row.speed = predict_speed(model, plan.options, *request.speeds, plan.options.context / 2);
      }
      rows.push_back(std::move(row));
    }
  }
  std::ranges::stable_sort(rows, ranks_before);
  return write_stdout(options.json ? ranking_json(rows) : row_table("model", rows));
}

Status plan(PlanOptions options) {
  if (options.no_mmap) options.request.access = gguf::OpenOptions::Access::kRead;
  if (options.what_fits) return rank_shapes(options);
  if (options.model.empty()) return bad_input("plan-model", "plan needs a MODEL, or --what-fits");
  QUERN_TRY(const bench::ModelSource source, bench::ModelSource::parse(options.model));
  QUERN_TRY(const gguf::File file, source.outline());
  QUERN_TRY(const engine::Model model, engine::read_model(file));
  // A layer may end up anywhere, so that every device is asked about every format.
  QUERN_TRY(auto formats, formats_needed(model, {}));
  formats.resize(options.request.engine.placement.devices.size() + 1, formats[0]);
  QUERN_CHECK(choose_machine(options, std::move(formats)));
  QUERN_TRY(const engine::Fit fit, plan_anyway(file, model, options.request));
  QUERN_TRY(const PlanReport report, make_report(file, model, fit, options.request));
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
      "  quern plan synth:llama-70b:Q4_K_M --ctx 131072\n"
      "  quern plan --what-fits");
  engine::EngineOptions& engine = options->request.engine;
  command->add_option("MODEL", options->model,
                      "GGUF model, or synth:SHAPE:MIX (see quern synth --help)");
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

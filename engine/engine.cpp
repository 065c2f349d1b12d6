#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <thread>

#include "engine/device_trust.h"
#include "engine/devices.h"
#include "engine/load_weights.h"
#include "gguf/exceptions.h"

namespace quern::engine {
namespace {

// A batch's arrays, gathered from rows. Sequences are numbered in order of appearance.
struct Gathered {
  struct Growth {
    Sequence* sequence;
    uint32_t rows;
  };

  std::vector<int32_t> tokens;
  std::vector<uint32_t> positions, sequences, logit_rows;
  std::vector<Growth> growth;  // per sequence
  std::vector<std::span<const uint32_t>> block_tables;
  std::vector<kernels::StateSlots> states;  // per sequence

  explicit Gathered(std::span<const Row> rows) {
    for (const Row& row : rows) {
      if (growth.empty() || growth.back().sequence != row.sequence) {
        growth.push_back({row.sequence, 0});
      }
      if (row.logits) logit_rows.push_back(static_cast<uint32_t>(tokens.size()));
      tokens.push_back(row.token);
      positions.push_back(row.sequence->length() + growth.back().rows++);
      sequences.push_back(static_cast<uint32_t>(growth.size() - 1));
    }
  }
};

// Lets the CPU do the part of devices that compute wrong, and says so in warnings.
Status distrust(const Placement& placement,
                std::span<const std::unique_ptr<kernels::Backend>> devices,
                std::vector<size_t>& device_of, std::vector<std::string>& warnings) {
  for (size_t i = 1; i < devices.size(); ++i) {
    const std::string& name = placement.devices[i - 1];
    QUERN_TRY(const DeviceTrust trust,
              device_trust(name, *devices[i], {.cache_folder = placement.cache_folder}));
    if (trust.faults.empty()) continue;
    const std::string text =
        fmt::format("{} computes wrong here ({})", escape(name), trust.summary());
    if (placement.strict) return fail(ErrorKind::kFailure, "device-wrong", text);
    std::ranges::replace(device_of, i, size_t{0});
    warnings.push_back(text + ": the CPU does its part");
  }
  return {};
}

// The CPU alone, or with the devices that the placement names.
Result<std::unique_ptr<kernels::Backend>> make_backend(const Model& model,
                                                       const EngineOptions& options,
                                                       std::vector<std::string>& warnings) {
  QUERN_CHECK(check_devices(options.placement));
  std::unique_ptr<kernels::Backend> cpu = kernels::make_cpu_backend(options.threads);
  QUERN_TRY(std::vector<size_t> device_of,
            place(model.program, model.config.layers, options.placement));
  if (std::ranges::all_of(device_of, [](size_t device) { return device == 0; })) return cpu;
  std::vector<std::unique_ptr<kernels::Backend>> devices;
  devices.push_back(std::move(cpu));
  for (const std::string& name : options.placement.devices) {
    QUERN_TRY(std::unique_ptr<kernels::Backend> device,
              make_device(name, options.placement.cache_folder));
    devices.push_back(std::move(device));
  }
  // Without a place to remember the result a test would cost seconds every time.
  if (!options.placement.cache_folder.empty()) {
    QUERN_CHECK(distrust(options.placement, devices, device_of, warnings));
  }
  return kernels::make_split_backend(std::move(devices), std::move(device_of));
}

// One more than the sequences need: a fork that writes first copies the block it shares.
uint64_t cache_blocks(const EngineOptions& options) { return sequence_blocks(options) + 1; }

}  // namespace

EngineOptions resolve(EngineOptions options, const Model& model) {
  if (options.threads == 0) options.threads = std::max(1u, std::thread::hardware_concurrency());
  if (options.context == 0) {
    options.context =
        std::min({model.config.context, model.max_positions, EngineOptions::kDefaultContext});
  }
  options.batch_rows = static_cast<uint32_t>(
      std::min<uint64_t>(options.batch_rows, uint64_t{options.context} * options.sequences));
  options.logit_rows = std::min(options.logit_rows, options.batch_rows);
  return options;
}

uint64_t sequence_blocks(const EngineOptions& options) {
  const uint64_t each =
      (uint64_t{options.context} + kernels::kBlockPositions - 1) / kernels::kBlockPositions;
  return each * options.sequences;
}

Status check_context(const EngineOptions& resolved, const Model& model) {
  if (cache_blocks(resolved) > UINT32_MAX || state_slots(resolved, model.program) > UINT32_MAX) {
    return bad_input("context-range",
                     fmt::format("{} sequences of {} positions are more than the cache can number",
                                 resolved.sequences, resolved.context));
  }
  if (resolved.context > model.max_positions) {
    return bad_input("context-range",
                     fmt::format("a context of {} positions: this model has learned only {}",
                                 resolved.context, model.max_positions));
  }
  return {};
}

uint64_t state_slots(const EngineOptions& options, const kernels::Program& program) {
  return program.states.empty() ? 0 : uint64_t{options.sequences} * kStatesPerSequence + 2;
}

kernels::MaxBatch max_batch(const EngineOptions& options) {
  return {
      .rows = options.batch_rows, .logit_rows = options.logit_rows, .positions = options.context};
}

Engine::Engine(gguf::File file, Model model, const EngineOptions& options,
               std::unique_ptr<kernels::Backend> backend)
    : file_(std::move(file)),
      model_(std::move(model)),
      options_(options),
      backend_(std::move(backend)) {
  const LongRope& longer = model_.long_rope;
  if (options_.context > longer.beyond) model_.program.ropes[0] = longer.rope;
}

Result<std::unique_ptr<Engine>> Engine::load(gguf::File file, const EngineOptions& options) {
  return catch_exceptions([&] { return load_checked(std::move(file), options); });
}

Result<std::unique_ptr<Engine>> Engine::load_checked(gguf::File file,
                                                     const EngineOptions& options) {
  QUERN_TRY(Model model, read_model(file));
  const EngineOptions resolved = resolve(options, model);
  QUERN_TRY(std::unique_ptr<kernels::Backend> backend,
            make_backend(model, resolved, model.warnings));
  stack_weights(file, model);
  LoadProgress progress(options.progress, model.weights, options.check_weights ? 2 : 1);
  if (options.check_weights) {
    if (Status status = check_weights(file, model.weights, resolved.threads, progress); !status) {
      status.error().path = file.path();
      return tl::unexpected(std::move(status.error()));
    }
  }
  std::unique_ptr<Engine> engine(
      new Engine(std::move(file), std::move(model), resolved, std::move(backend)));
  QUERN_CHECK(engine->allocate(progress));
  QUERN_CHECK(engine->file_.check_unchanged());
  return engine;
}

Status Engine::allocate(LoadProgress& progress) {
  QUERN_CHECK(check_context(options_, model_));
  const auto blocks = static_cast<uint32_t>(cache_blocks(options_));
  const auto states = static_cast<uint32_t>(state_slots(options_, model_.program));
  QUERN_TRY(std::unique_ptr<kernels::Cache> cache,
            backend_->make_cache(model_.program, options_.cache, blocks, states));
  pool_ = std::make_unique<StatePool>(std::move(cache), blocks, states);
  const auto packed = [&](kernels::WeightId id) {
    file_.release(model_.weights[id].bytes);
    progress.add(model_.weights[id].bytes.size());
    for (StackedWeight& stacked : model_.stacked) {
      if (stacked.weight == id) stacked.bytes = {};
    }
    return progress.report();
  };
  QUERN_TRY(executable_, backend_->compile(model_.program, model_.weights, pool_->cache(),
                                           max_batch(options_), options_.weights, packed));
  return {};
}

Result<std::span<const float>> Engine::step(std::span<const Row> rows, const CancelToken& cancel) {
  return catch_exceptions([&] { return compute(rows, cancel); });
}

Result<std::span<const float>> Engine::compute(std::span<const Row> rows,
                                               const CancelToken& cancel) {
  assert(!rows.empty() && rows.size() <= options_.batch_rows);
  Gathered gathered(rows);
  assert(gathered.logit_rows.size() <= options_.logit_rows);
  for (const int32_t token : gathered.tokens) {
    if (token < 0 || static_cast<uint32_t>(token) >= vocabulary()) {
      return bad_input(
          "token-range",
          fmt::format("token id {} is not in the vocabulary of {} tokens", token, vocabulary()));
    }
  }
  for (const auto& [sequence, count] : gathered.growth) {
    if (sequence->length() + count > options_.context) {
      return bad_input("context-full",
                       fmt::format("{} tokens do not fit into the context of {} positions",
                                   sequence->length() + count, options_.context));
    }
    QUERN_CHECK(sequence->reserve(count));
    gathered.block_tables.push_back(sequence->blocks());
    gathered.states.push_back(sequence->states());
  }
  QUERN_TRY(const std::span<const float> logits,
            executable_->run({.tokens = gathered.tokens,
                              .positions = gathered.positions,
                              .sequences = gathered.sequences,
                              .block_tables = gathered.block_tables,
                              .logit_rows = gathered.logit_rows,
                              .states = gathered.states},
                             cancel));
  QUERN_CHECK(file_.check_unchanged());
  for (const auto& [sequence, count] : gathered.growth) sequence->advance(count);
  return logits;
}

}  // namespace quern::engine

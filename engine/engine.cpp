#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <thread>
#include <utility>

#include "engine/engine_backend.h"
#include "engine/load_weights.h"
#include "gguf/exceptions.h"

namespace quern::engine {
namespace {

// One more than the sequences need: a fork that writes first copies the block it shares.
uint64_t cache_blocks(const EngineOptions& options, uint32_t window = 0) {
  return sequence_blocks(options, window) + 1;
}

// Steps that share the packing: so many that none of them takes long, so few that soon all is fast.
constexpr uint64_t kPackingSteps = 16;

uint64_t blocks_of(uint64_t positions) {
  return (positions + kernels::kBlockPositions - 1) / kernels::kBlockPositions;
}

tl::unexpected<Error> state_lost() {
  return fail(ErrorKind::kFailure, "state-lost",
              "a device failed, and what it had computed is lost: the CPU must compute it again");
}

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

uint64_t window_blocks(const EngineOptions& options, uint32_t window) {
  return blocks_of(uint64_t{window} + options.batch_rows) + 1;
}

uint64_t sequence_blocks(const EngineOptions& options, uint32_t window) {
  const uint64_t all = blocks_of(options.context) * options.sequences;
  if (window == 0) return all;
  return std::min(all,
                  window_blocks(options, window) * (uint64_t{options.sequences} + options.forks));
}

std::vector<BlockGroup> block_groups(const EngineOptions& options,
                                     const kernels::Program& program) {
  std::vector<BlockGroup> groups;
  for (const uint32_t window : program.windows) {
    groups.push_back({.blocks = static_cast<uint32_t>(cache_blocks(options, window)),
                      .window = window,
                      .most = static_cast<uint32_t>(window_blocks(options, window))});
  }
  return groups;
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

// A batch's arrays, gathered from rows. Sequences are numbered in order of appearance.
struct Engine::Gathered {
  struct Growth {
    Sequence* sequence;
    uint32_t rows;
  };

  std::vector<int32_t> tokens;
  std::vector<uint32_t> positions, sequences, logit_rows;
  std::vector<Growth> growth;                           // per sequence
  std::vector<std::span<const uint32_t>> block_tables;  // [sequences][groups of layers]
  std::vector<kernels::StateSlots> states;              // per sequence

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

Engine::Engine(gguf::File file, Model model, const EngineOptions& options)
    : file_(std::move(file)), model_(std::move(model)), options_(options) {
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
  std::unique_ptr<Engine> engine(new Engine(std::move(file), std::move(model), resolved));
  std::string retreated;
  QUERN_CHECK(engine->open_devices(retreated));
  QUERN_CHECK(engine->read_weights(retreated));
  if (!retreated.empty()) engine->model_.warnings.push_back(std::move(retreated));
  QUERN_CHECK(engine->file_.check_unchanged());
  return engine;
}

Status Engine::open_devices(std::string& retreated) {
  auto backend = make_backend(model_, options_, model_.warnings);
  while (!backend) {
    if (!can_go_on(backend.error(), options_.placement)) {
      return tl::unexpected(std::move(backend.error()));
    }
    QUERN_CHECK(retreat(backend.error(), retreated));
    backend = make_backend(model_, options_, model_.warnings);
  }
  backend_ = std::move(*backend);
  return {};
}

Status Engine::read_weights(std::string& retreated) {
  stack_weights(file_, model_);
  const int passes = (options_.check_weights ? 1 : 0) + (options_.pack_while_running ? 0 : 1);
  LoadProgress progress(options_.progress, model_.weights, passes);
  if (options_.check_weights) {
    const bool keep =
        options_.weights == kernels::WeightHome::kMapped || options_.pack_while_running;
    Status status = check_weights(file_, model_.weights, options_.threads, keep, progress);
    if (!status) {
      status.error().path = file_.path();
      return status;
    }
  }
  QUERN_CHECK(check_context(options_, model_));
  for (;;) {
    Status status = allocate(progress);
    if (status || !can_go_on(status.error(), options_.placement)) return status;
    QUERN_CHECK(retreat(status.error(), retreated));
    QUERN_CHECK(open_devices(retreated));
  }
}

void Engine::close_devices() {
  executable_.reset();
  if (pool_) pool_->replace(nullptr);
  backend_.reset();
}

Status Engine::retreat(const Error& error, std::string& said) {
  close_devices();
  const bool memory = error.code == "device-memory";
  QUERN_TRY(options_, memory ? with_fewer_layers(file_, model_, options_)
                             : without_devices(file_, model_, options_));
  const Placement& left = options_.placement;
  said = error.message + ": ";
  if (left.layers == 0 && left.rules.empty()) {
    said += "the CPU does its part";
  } else {
    said += fmt::format("{} of {} layers on devices", std::min(left.layers, model_.config.layers),
                        model_.config.layers);
  }
  stack_weights(file_, model_);  // copies that were packed are gone
  return {};
}

Status Engine::allocate(LoadProgress& progress) {
  const std::vector<BlockGroup> groups = block_groups(options_, model_.program);
  std::vector<uint32_t> blocks;
  for (const BlockGroup& group : groups) blocks.push_back(group.blocks);
  const auto states = static_cast<uint32_t>(state_slots(options_, model_.program));
  QUERN_TRY(std::unique_ptr<kernels::Cache> cache,
            backend_->make_cache(model_.program, options_.cache,
                                 kernels::BlockCounts(std::move(blocks)), states));
  if (pool_) {
    pool_->replace(std::move(cache));
  } else {
    pool_ = std::make_unique<StatePool>(std::move(cache), groups, states);
  }
  QUERN_TRY(executable_,
            backend_->compile(model_.program, model_.weights, pool_->cache(), max_batch(options_),
                              options_.weights, copy_observer(progress)));
  QUERN_TRY(bytes_to_pack_, executable_->pack(0));
  bytes_per_step_ = 0;
  return options_.pack_while_running ? Status() : pack_weights(bytes_to_pack_, progress);
}

kernels::PackObserver Engine::copy_observer(LoadProgress& progress) {
  return [this, &progress, before = std::vector<size_t>(model_.weights.size())](
             kernels::WeightId id, size_t bytes) mutable {
    const std::span<const std::byte> all = model_.weights[id].bytes;
    file_.release(all.first(bytes));
    progress.add(bytes - std::exchange(before[id], bytes));
    for (StackedWeight& stacked : model_.stacked) {
      if (stacked.weight == id && bytes == all.size()) stacked.bytes = {};
    }
    return progress.report();
  };
}

Status Engine::pack_weights(uint64_t bytes, LoadProgress& progress) {
  if (!executable_ || bytes == 0 || bytes_to_pack_ == 0) return {};
  QUERN_TRY(bytes_to_pack_, executable_->pack(bytes, copy_observer(progress)));
  return {};
}

Status Engine::pack_weights(uint64_t bytes, const CancelToken& cancel) {
  LoadProgress progress([&](double) { return !cancel; }, {}, 0);
  return pack_weights(bytes, progress);
}

Status Engine::pack(const CancelToken& cancel) {
  return catch_exceptions([&] { return pack_weights(bytes_to_pack_, cancel); });
}

Error Engine::without_device(Error error) {
  if (!can_go_on(error, options_.placement)) return error;
  close_devices();
  Result<EngineOptions> left = without_devices(file_, model_, options_);
  if (!left) return left.error();
  options_ = std::move(*left);
  stack_weights(file_, model_);
  if (options_.notice) options_.notice(error.message + ": the CPU goes on alone");
  return state_lost().value();
}

Status Engine::go_on(const CancelToken& cancel) {
  if (!backend_) backend_ = kernels::make_cpu_backend(options_.threads);
  LoadProgress progress([&](double) { return !cancel; }, model_.weights, 1);
  return allocate(progress);
}

Status Engine::check_rows(const Gathered& gathered) const {
  for (const int32_t token : gathered.tokens) {
    if (token < 0 || static_cast<uint32_t>(token) >= vocabulary()) {
      return bad_input(
          "token-range",
          fmt::format("token id {} is not in the vocabulary of {} tokens", token, vocabulary()));
    }
  }
  for (const auto& [sequence, count] : gathered.growth) {
    if (sequence->lost()) return state_lost();
    if (sequence->length() + count > options_.context) {
      return bad_input("context-full",
                       fmt::format("{} tokens do not fit into the context of {} positions",
                                   sequence->length() + count, options_.context));
    }
  }
  return {};
}

template <typename Run>
auto Engine::compute(std::span<const Row> rows, const CancelToken& cancel, const Run& run)
    -> decltype(run(kernels::Batch{})) {
  assert(!rows.empty() && rows.size() <= options_.batch_rows);
  Gathered gathered(rows);
  assert(gathered.logit_rows.size() <= options_.logit_rows);
  if (!executable_) {
    QUERN_CHECK(go_on(cancel));
  }
  QUERN_CHECK(pack_weights(bytes_per_step_, cancel));
  QUERN_CHECK(check_rows(gathered));
  for (const auto& [sequence, count] : gathered.growth) {
    QUERN_CHECK(sequence->reserve(count));
    for (size_t group = 0; group < model_.program.windows.size(); ++group) {
      gathered.block_tables.push_back(sequence->blocks(group));
    }
    gathered.states.push_back(sequence->states());
  }
  auto result = run(kernels::Batch{.tokens = gathered.tokens,
                                   .positions = gathered.positions,
                                   .sequences = gathered.sequences,
                                   .block_tables = gathered.block_tables,
                                   .logit_rows = gathered.logit_rows,
                                   .states = gathered.states});
  if (!result) return tl::unexpected(without_device(result.error()));
  QUERN_CHECK(file_.check_unchanged());
  if (bytes_per_step_ == 0) bytes_per_step_ = bytes_to_pack_ / kPackingSteps + 1;
  for (const auto& [sequence, count] : gathered.growth) sequence->advance(count);
  return result;
}

Result<std::span<const float>> Engine::step(std::span<const Row> rows, const CancelToken& cancel) {
  return catch_exceptions([&] {
    return compute(rows, cancel,
                   [&](const kernels::Batch& batch) { return executable_->run(batch, cancel); });
  });
}

Result<std::span<const kernels::TopLogit>> Engine::step_top(std::span<const Row> rows,
                                                            const kernels::TopRequest& request,
                                                            const CancelToken& cancel) {
  return catch_exceptions([&] {
    return compute(rows, cancel, [&](const kernels::Batch& batch) {
      return executable_->run_top(batch, request, cancel);
    });
  });
}

}  // namespace quern::engine

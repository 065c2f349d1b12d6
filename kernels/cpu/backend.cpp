// The CPU backend: binds a program to mapped weights and runs it operation by operation.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/pack_weights.h"
#include "kernels/cpu/vector_math.h"

namespace quern::kernels::cpu {

void run(const Embed& op, Context& context) {
  const size_t width = context.width(op.out);
  const Weight& table = context.weights[op.table];
  context.pool.run(context.batch->tokens.size(), [&](size_t row, size_t) {
    float* x = context.value(op.out) + row * width;
    float* other = context.floats(context.workspace.normed) + row * width;
    const std::byte* bytes = weight_row(table, static_cast<size_t>(context.batch->tokens[row]),
                                        reinterpret_cast<std::byte*>(other));
    decode_row(table.tensor.format, bytes, x, width);
    for (size_t i = 0; op.scale != 1 && i < width; ++i) x[i] *= op.scale;
    if (op.positions == kAbsent) return;
    const gguf::TensorView& positions = context.weights[op.positions].tensor;
    decode_row(positions.format,
               positions.bytes.data() + context.batch->positions[row] * positions.row_bytes(),
               other, width);
    for (size_t i = 0; i < width; ++i) x[i] += other[i];
  });
}

void run(const SoftCap& op, Context& context) {
  const size_t width = context.width(op.x);
  context.pool.run(context.rows(op.x), [&](size_t row, size_t) {
    soft_cap(context.value(op.x) + row * width, width, 1, op.cap);
  });
}

void run(const SelectLogitRows& op, Context& context) {
  const size_t width = context.width(op.in);
  for (size_t i = 0; i < context.batch->logit_rows.size(); ++i) {
    std::memcpy(context.value(op.out) + i * width,
                context.value(op.in) + context.batch->logit_rows[i] * width, width * sizeof(float));
  }
}

namespace {

// Adds the time it lives to *seconds; nothing, not even the time, when that is null.
class OpTimer {
 public:
  explicit OpTimer(double* seconds) : seconds_(seconds) {
    if (seconds_) start_ = Clock::now();
  }
  ~OpTimer() {
    if (seconds_) *seconds_ += std::chrono::duration<double>(Clock::now() - start_).count();
  }
  OpTimer(const OpTimer&) = delete;
  OpTimer& operator=(const OpTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  double* seconds_;
  Clock::time_point start_;
};

class CpuExecutable final : public Executable {
 public:
  CpuExecutable(const Program& program, std::span<const gguf::TensorView> weights, CpuCache& cache,
                const MaxBatch& max, ThreadPool& pool)
      : program_(program),
        max_(max),
        workspace_(program_, max_, pool.threads()),
        context_{.program = program_,
                 .max = max_,
                 .weights = weights_,
                 .workspace = workspace_,
                 .memory = nullptr,
                 .cache = cache,
                 .pool = pool} {
    for (WeightId id = 0; id < weights.size(); ++id) weights_[id].tensor = weights[id];
  }

  Status bind(WeightHome home) {
    if (home == WeightHome::kPacked) {
      QUERN_TRY(packer_, WeightPacker::make(program_, weights_));
    }
    QUERN_TRY(memory_, AlignedBuffer::allocate(workspace_.bytes));
    context_.memory = memory_.data();
    for (WeightId id = 0; id < weights_.size(); ++id) {
      const gguf::TensorView& tensor = weights_[id].tensor;
      if (workspace_.vectors[id] == Workspace::kNotVector) continue;
      decode_row(tensor.format, tensor.bytes.data(), context_.floats(workspace_.vectors[id]),
                 tensor.row_values());
    }
    return {};
  }

  Result<std::span<const float>> run(const Batch& batch, const std::atomic<bool>& cancel) override {
    context_.batch = &batch;
    const Part& part = program_.parts[batch.part];
    if (part.input != kAbsent) std::ranges::copy(batch.input, context_.value(part.input));
    compute_turns(context_);
    for (size_t i = part.begin; i < part.end; ++i) {
      if (cancel.load(std::memory_order_relaxed)) {
        return fail(ErrorKind::kCancelled, "cancelled", "stopped");
      }
      const OpTimer timer(i < op_seconds_.size() ? &op_seconds_[i] : nullptr);
      std::visit([&](const auto& op) { cpu::run(op, context_); }, program_.ops[i]);
    }
    return std::span<const float>(context_.value(part.output),
                                  context_.rows(part.output) * context_.width(part.output));
  }

  void time_operations(std::span<double> seconds) override { op_seconds_ = seconds; }
  void observe_inputs(const InputObserver& observer) override { context_.observer = observer; }
  Result<uint64_t> pack(uint64_t bytes, const PackObserver& packed) override {
    return packer_.pack(bytes, context_.pool, packed);
  }

 private:
  const Program program_;
  const MaxBatch max_;
  std::vector<Weight> weights_{program_.weights.size()};
  const Workspace workspace_;
  WeightPacker packer_;
  AlignedBuffer memory_;
  Context context_;
  std::span<double> op_seconds_;  // [ops] or empty
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(size_t threads) : pool_(threads > 0 ? threads : default_threads()) {}

  std::string_view name() const override { return "cpu"; }

  uint64_t workspace_bytes(const Program& program, const MaxBatch& max) const override {
    return Workspace(program, max, pool_.threads()).bytes;
  }

  uint64_t cache_block_bytes(const Program& program, CacheType type) const override {
    return CpuCache::block_bytes(program, type);
  }

  Result<std::unique_ptr<Cache>> make_cache(const Program& program, CacheType type,
                                            const BlockCounts& blocks, uint32_t states) override {
    QUERN_TRY(std::unique_ptr<CpuCache> cache, CpuCache::make(program, type, blocks, states));
    return cache;
  }

  Result<std::unique_ptr<Executable>> compile(const Program& program,
                                              std::span<const gguf::TensorView> weights,
                                              Cache& cache, const MaxBatch& max, WeightHome home,
                                              const PackObserver&) override {
    auto executable = std::make_unique<CpuExecutable>(program, weights,
                                                      static_cast<CpuCache&>(cache), max, pool_);
    QUERN_CHECK(executable->bind(home));
    return executable;
  }

 private:
  ThreadPool pool_;
};

}  // namespace
}  // namespace quern::kernels::cpu

namespace quern::kernels {

std::unique_ptr<Backend> make_cpu_backend(size_t threads) {
  return std::make_unique<cpu::CpuBackend>(threads);
}

}  // namespace quern::kernels

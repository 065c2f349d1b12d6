// What the implementation of an operation sees while a batch runs.
#pragma once

#include <span>

#include "kernels/backend.h"
#include "kernels/cpu/kv_cache.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/cpu/workspace.h"

namespace quern::kernels::cpu {

// The packed matrices of a weight (packed.h): kRowTile rows every tile_bytes, expert after expert.
struct PackedMatrices {
  std::byte* data = nullptr;
  size_t tile_bytes = 0, matrix_bytes = 0;
  size_t tiles = 0;  // that are packed by now, from the first one on
};

struct Weight {
  gguf::TensorView tensor;  // as mapped
  PackedMatrices packed;    // without data: it is never packed
};

// The values of a norm; null where there are none.
struct NormWeights {
  const float* weight = nullptr;
  const float* bias = nullptr;

  // Those from value `first` on.
  NormWeights part(size_t first) const {
    return {weight ? weight + first : nullptr, bias ? bias + first : nullptr};
  }
};

struct Context {
  const Program& program;
  const MaxBatch& max;
  std::span<const Weight> weights;
  const Workspace& workspace;
  std::byte* memory;  // workspace.bytes
  CpuCache& cache;
  ThreadPool& pool;
  const Batch* batch = nullptr;
  Executable::InputObserver observer = {};

  size_t rows(ValueId id) const {
    return program.values[id].rows == ValueInfo::Rows::kBatch ? batch->tokens.size()
                                                              : batch->logit_rows.size();
  }
  size_t width(ValueId id) const { return program.values[id].width; }
  // f32 [rows][width].
  float* value(ValueId id) const { return floats(workspace.values[id]); }
  // A norm's or bias's values as f32; nullptr for kAbsent.
  const float* vector(WeightId id) const {
    return id == kAbsent ? nullptr : floats(workspace.vectors[id]);
  }
  NormWeights norm(const Norm& norm) const { return {vector(norm.weight), vector(norm.bias)}; }
  float* floats(size_t offset) const { return reinterpret_cast<float*>(memory + offset); }
  std::byte* scratch(size_t worker) const {
    return memory + workspace.scratch + worker * workspace.scratch_bytes;
  }
};

// One function per operation of op.h.
void run(const Embed& op, Context& context);
void run(const Projection& op, Context& context);
void run(const AddNormed& op, Context& context);
void run(const SoftCap& op, Context& context);
void run(const CacheAppend& op, Context& context);
void run(const Attention& op, Context& context);
void run(const Experts& op, Context& context);
void run(const GatedNorm& op, Context& context);
void run(const Arrange& op, Context& context);
void run(const HeadProduct& op, Context& context);
void run(const CausalConv& op, Context& context);
void run(const GatedDelta& op, Context& context);
void run(const SelectiveScan& op, Context& context);
void run(const SelectLogitRows& op, Context& context);

// Fills Workspace::turns for the positions of the batch.
void compute_turns(Context& context);

}  // namespace quern::kernels::cpu

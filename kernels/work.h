// Work: the bytes and arithmetic that a program needs at least, from its shapes alone; the
// machine's peaks turn it into the least time it can take. Spec: performance, "Rooflines".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/op.h"
#include "kernels/probe.h"

namespace quern::kernels {

struct Work {
  double bytes = 0;     // read from memory: weights once per step, keys and values once per step
  double int8_ops = 0;  // a multiply-add counts as two: quantized matrices and attention
  double fp32_ops = 0;  // float matrices

  Work& operator+=(const Work& other);
};

// Rows of one sequence that are computed in one step.
struct Rows {
  uint64_t first;   // position of the first row
  uint64_t count;   // rows
  uint64_t logits;  // rows whose logits are wanted
};

// One matrix of an operation, or what is read of a stack of experts.
struct MatrixWork {
  WeightId weight;
  double bytes, ops;  // read once; a multiply-add counts as two
};
std::vector<MatrixWork> matrices_of(const Op& op, const Program& program, const Rows& rows);

Work work_of(const Op& op, const Program& program, CacheType cache, const Rows& rows);
Work work_of(const Program& program, CacheType cache, const Rows& rows);

// Bytes that one position takes in the cache of all layers.
double cache_bytes_per_position(const Program& program, CacheType cache);

struct Roofline {
  double memory_seconds;   // bytes / read bandwidth
  double compute_seconds;  // operations / peaks
  double seconds() const {
    return memory_seconds > compute_seconds ? memory_seconds : compute_seconds;
  }
};
Roofline roofline(const Work& work, const MachineProfile& machine);

// What an operation is for, from the names of its weights: "attn_q+attn_k+attn_v", "ffn_down", …
std::string label(const Op& op, const Program& program);

}  // namespace quern::kernels

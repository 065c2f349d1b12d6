// Operations on the heads of a value: norms and gates, moving them, a matrix for each.
#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cpu/activations.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/normalize.h"
#include "kernels/cpu/vector_math.h"

namespace quern::kernels::cpu {
namespace {

// x = x * activation(gate); `copy` is scratch of as many values.
void apply_gate(Activation activation, const float* gate, size_t count, float* x, float* copy) {
  std::copy_n(gate, count, copy);
  activate(activation, copy, nullptr, count);
  for (size_t i = 0; i < count; ++i) x[i] *= copy[i];
}

void normalize_heads(const GatedNorm& op, const NormWeights& weights, float* x) {
  if (op.norm.over == HeadNorm::Over::kAllHeads) {
    return normalize(op.norm.norm, weights, x, size_t{op.heads} * op.width, x);
  }
  const bool own = op.norm.over == HeadNorm::Over::kOwnHead;
  for (size_t h = 0; h < op.heads; ++h) {
    float* head = x + h * op.width;
    normalize(op.norm.norm, weights.part(own ? h * op.width : 0), head, op.width, head);
  }
}

}  // namespace

void run(const GatedNorm& op, Context& context) {
  const size_t count = size_t{op.heads} * op.width;
  const NormWeights weights = context.norm(op.norm.norm);
  context.pool.run(context.rows(op.x), [&](size_t row, size_t) {
    float* x = context.value(op.x) + row * count;
    const auto gate = [&] {
      if (op.gate == kAbsent) return;
      apply_gate(op.activation, context.value(op.gate) + row * count, count, x,
                 context.floats(context.workspace.normed) + row * count);
    };
    if (op.gate_first) gate();
    if (op.normalized) normalize_heads(op, weights, x);
    if (!op.gate_first) gate();
    for (size_t i = 0; op.scale != 1 && i < count; ++i) x[i] *= op.scale;
  });
}

void run(const Arrange& op, Context& context) {
  context.pool.run(context.rows(op.out), [&](size_t row, size_t) {
    for (const Arrange::Piece& piece : op.pieces) {
      const float* in = context.value(piece.in) + row * context.width(piece.in) + piece.first;
      float* out = context.value(op.out) + row * op.heads * op.width + piece.to;
      for (size_t h = 0; h < op.heads; ++h) {
        std::memcpy(out + h * op.width, in + h * piece.stride, piece.width * sizeof(float));
      }
    }
  });
}

// Inputs and results lie head by head for the products, [heads][rows][values]: of one row they do
// anyway.
void run(const HeadProduct& op, Context& context) {
  const Weight& weight = context.weights[op.weight];
  const auto [in, out, heads, _] = weight.tensor.shape;
  const size_t rows = context.rows(op.in);
  const float* from = context.value(op.in);
  float* by_head = context.floats(context.workspace.normed);
  std::vector<TokenRun> runs;
  for (size_t h = 0; h < heads; ++h) {
    runs.push_back({h * rows, (h + 1) * rows});
    for (size_t row = 0; row < rows; ++row) {
      std::copy_n(from + (row * heads + h) * in, in, by_head + (h * rows + row) * in);
    }
  }
  const LinearInput input = prepare_input(by_head, in, heads * rows, Norm{}, nullptr,
                                          InputForms::of(weight.tensor.format),
                                          context.memory + context.workspace.forms, context, runs);
  float* products = context.floats(context.workspace.head_products);
  std::vector<LinearTask> tasks;
  for (size_t h = 0; h < heads; ++h) {
    tasks.push_back({.input = input.part(runs[h]),
                     .matrix = Matrix::of(weight, h),
                     .out = products + runs[h].begin * out});
  }
  run_linear(tasks, context);
  context.pool.run(rows, [&](size_t row, size_t) {
    for (size_t h = 0; h < heads; ++h) {
      std::copy_n(products + (h * rows + row) * out, out,
                  context.value(op.out) + (row * heads + h) * out);
    }
  });
}

}  // namespace quern::kernels::cpu

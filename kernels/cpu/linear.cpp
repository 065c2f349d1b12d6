#include "kernels/cpu/linear.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/vector_math.h"

namespace quern::kernels::cpu {
namespace {

// Tokens that one call works on: bounds the scratch, and keeps a tile's results in the cache.
constexpr size_t kTokenSlice = 512;

size_t tiles(const LinearTask& task) { return (task.matrix.rows + kRowTile - 1) / kRowTile; }

// Products of one tile of matrix rows with tokens [first, first + count): out[count][kRowTile].
void multiply(const Matrix& matrix, const LinearInput& input, size_t row, size_t first,
              size_t count, float* out, std::byte* scratch) {
  const size_t row_bytes = gguf::info(matrix.format).row_bytes(input.values);
  MatMulTile tile{};
  tile.format = matrix.format;
  tile.weights = matrix.bytes + row * row_bytes;
  tile.row_bytes = row_bytes;
  tile.rows = std::min(kRowTile, matrix.rows - row);
  tile.values = input.values;
  if (gguf::info(matrix.format).is_float()) {
    tile.floats = input.floats + first * input.values;
    tile.float_stride = input.values;
  } else {
    tile.quantized = input.quantized + first * QuantizedLayout{input.values}.row_bytes();
  }
  tile.tokens = count;
  tile.out = out;
  tile.out_stride = kRowTile;
  matmul_tile(tile, scratch);
}

void add_bias(const float* bias, size_t rows, size_t tokens, float* out) {
  if (!bias) return;
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t r = 0; r < rows; ++r) out[t * kRowTile + r] += bias[r];
  }
}

void run_tile(const LinearTask& task, size_t tile, std::byte* scratch) {
  const size_t row = tile * kRowTile;
  const size_t rows = std::min(kRowTile, task.matrix.rows - row);
  const size_t slice = std::min(kTokenSlice, task.input.tokens);
  float* result = reinterpret_cast<float*>(scratch);
  float* up = result + slice * kRowTile;
  std::byte* rest = reinterpret_cast<std::byte*>(up + slice * kRowTile);
  for (size_t first = 0; first < task.input.tokens; first += slice) {
    const size_t count = std::min(slice, task.input.tokens - first);
    multiply(task.matrix, task.input, row, first, count, result, rest);
    add_bias(task.bias ? task.bias + row : nullptr, rows, count, result);
    if (task.up) {
      multiply(*task.up, task.input, row, first, count, up, rest);
      add_bias(task.up_bias ? task.up_bias + row : nullptr, rows, count, up);
      silu_multiply(result, up, count * kRowTile);
    }
    for (size_t t = 0; t < count; ++t) {
      const size_t start = (first + t) * task.matrix.rows + row;
      for (size_t r = 0; r < rows; ++r) {
        const float y = result[t * kRowTile + r];
        task.out[start + r] = task.add ? task.add[start + r] + y : y;
      }
    }
  }
}

}  // namespace

Matrix Matrix::of(const gguf::TensorView& tensor, size_t expert) {
  const size_t rows = tensor.shape[1];
  return {tensor.format, tensor.bytes.data() + expert * rows * tensor.row_bytes(), rows};
}

size_t linear_scratch_bytes(size_t tokens) {
  const size_t slice = std::min(kTokenSlice, tokens);
  return 2 * slice * kRowTile * sizeof(float) + matmul_scratch_bytes(slice);
}

void run_linear(std::span<const LinearTask> tasks, Context& context) {
  // ends[i]: number of tiles in tasks 0 … i, so that one loop hands out the tiles of all of them.
  std::vector<size_t> ends;
  size_t total = 0;
  for (const LinearTask& task : tasks) ends.push_back(total += tiles(task));
  context.pool.run(total, [&](size_t item, size_t worker) {
    const size_t index = std::upper_bound(ends.begin(), ends.end(), item) - ends.begin();
    const size_t begin = index == 0 ? 0 : ends[index - 1];
    run_tile(tasks[index], item - begin, context.scratch(worker));
  });
}

LinearInput prepare_input(const float* in, size_t values, size_t tokens, const Norm& norm,
                          float* normed, std::byte* quantized, Context& context) {
  LinearInput input{.floats = in, .quantized = quantized, .values = values, .tokens = tokens};
  const float* weight = context.vector(norm.weight);
  if (weight) input.floats = normed;
  if (!weight && !quantized) return input;
  const QuantizedLayout layout{values};
  context.pool.run(tokens, [&](size_t t, size_t) {
    if (weight) rms_norm(in + t * values, weight, norm.epsilon, values, normed + t * values);
    if (quantized) quantize_row(input.floats + t * values, values, layout.row(quantized, t));
  });
  return input;
}

void rms_norm(const float* x, const float* weight, float epsilon, size_t count, float* y) {
  float sums[16] = {};
  for (size_t i = 0; i < count; ++i) sums[i % 16] += x[i] * x[i];
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  const float scale = 1.0f / std::sqrt(sums[0] / static_cast<float>(count) + epsilon);
  for (size_t i = 0; i < count; ++i) y[i] = x[i] * scale * weight[i];
}

void run(const Projection& op, Context& context) {
  const size_t values = context.weights[op.outputs[0].weight].row_values();
  const size_t tokens = context.rows(op.in);
  bool any_quantized = false;
  for (const Linear& linear : op.outputs) {
    any_quantized |= !gguf::info(context.weights[linear.weight].format).is_float();
  }
  const LinearInput input = prepare_input(
      context.value(op.in), values, tokens, op.norm, context.floats(context.workspace.normed),
      any_quantized ? context.memory + context.workspace.quantized : nullptr, context);

  std::vector<Matrix> matrices;
  for (const Linear& linear : op.outputs)
    matrices.push_back(Matrix::of(context.weights[linear.weight]));
  std::vector<LinearTask> tasks;
  for (size_t i = 0; i < op.outputs.size(); ++i) {
    const Linear& linear = op.outputs[i];
    LinearTask task{.input = input, .matrix = matrices[i], .out = context.value(linear.out)};
    task.bias = context.vector(linear.bias);
    if (linear.add != kAbsent) task.add = context.value(linear.add);
    if (op.activation == Activation::kSilu) {
      task.up = &matrices[1];
      task.up_bias = context.vector(op.outputs[1].bias);
    }
    tasks.push_back(task);
    if (op.activation != Activation::kNone) break;  // the second output was the first one's `up`
  }
  run_linear(tasks, context);
}

}  // namespace quern::kernels::cpu

#include "kernels/cpu/linear.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/packed.h"
#include "kernels/cpu/vector_math.h"

namespace quern::kernels::cpu {
namespace {

// Tokens that one call works on: bounds the scratch, and keeps a tile's results in the cache.
constexpr size_t kTokenSlice = 512;

size_t tiles(const LinearTask& task) { return (task.matrix.rows + kRowTile - 1) / kRowTile; }

// Products of one tile of matrix rows with tokens [first, first + count): out[count][kRowTile].
// `first`: a multiple of kTokenBlock.
void multiply(const Matrix& matrix, const LinearInput& input, size_t row, size_t first,
              size_t count, float* out, std::byte* scratch) {
  MatMulTile tile{};
  tile.format = matrix.format;
  tile.weights = matrix.bytes + row / kRowTile * matrix.tile_bytes;
  tile.row_bytes = matrix.packed ? WeightTile::kPacked : matrix.row_bytes;
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
    }
    activate(task.activation, result, task.up ? up : nullptr, count * kRowTile);
    for (size_t t = 0; t < count; ++t) {
      const size_t start = (first + t) * task.matrix.rows + row;
      const float factor = task.gate ? task.gate[first + t] * task.scale : task.scale;
      for (size_t r = 0; r < rows; ++r) {
        const float y = factor * result[t * kRowTile + r];
        task.out[start + r] = task.add ? task.add[start + r] + y : y;
      }
    }
  }
}

// Σ x(i) for i < count, in 16 parts by i mod 16, folded 8-4-2-1.
template <typename Value>
float sum_of(size_t count, Value x) {
  float sums[16] = {};
  for (size_t i = 0; i < count; ++i) sums[i % 16] += x(i);
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

void show_inputs(std::span<const LinearTask> tasks, const Executable::InputObserver& observer) {
  for (const LinearTask& task : tasks) {
    const std::span rows(task.input.floats, task.input.tokens * task.input.values);
    observer(task.matrix.name, task.matrix.expert, rows, task.input.values);
    if (task.up) observer(task.up->name, task.up->expert, rows, task.input.values);
  }
}

}  // namespace

Matrix Matrix::of(const Weight& weight, size_t expert) {
  const gguf::TensorView& tensor = weight.tensor;
  Matrix matrix{.name = tensor.name,
                .expert = expert,
                .format = tensor.format,
                .bytes = weight.packed ? weight.packed : tensor.bytes.data(),
                .row_bytes = tensor.row_bytes(),
                .tile_bytes = kRowTile * tensor.row_bytes(),
                .rows = tensor.shape[1],
                .packed = weight.packed != nullptr};
  if (matrix.packed) {
    matrix.tile_bytes =
        kRowTile / kPanelRows * packed_tile_bytes(tensor.format, tensor.row_values());
    matrix.bytes += expert * packed_bytes(tensor.format, matrix.rows, tensor.row_values());
  } else {
    matrix.bytes += expert * matrix.rows * matrix.row_bytes;
  }
  return matrix;
}

size_t linear_scratch_bytes(size_t tokens) {
  const size_t slice = std::min(kTokenSlice, tokens);
  return 2 * slice * kRowTile * sizeof(float) + matmul_scratch_bytes(slice);
}

void run_linear(std::span<const LinearTask> tasks, Context& context) {
  if (context.observer) show_inputs(tasks, context.observer);
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
                          float* normed, std::byte* quantized, Context& context,
                          std::span<const TokenRun> runs) {
  LinearInput input{.floats = in, .quantized = quantized, .values = values, .tokens = tokens};
  const NormWeights weights = context.norm(norm);
  if (weights.weight) input.floats = normed;
  if (!weights.weight && !quantized) return input;
  std::vector<TokenRun> blocks;
  const TokenRun all{0, tokens};
  for (const TokenRun& run : runs.empty() ? std::span(&all, 1) : runs) {
    for (size_t t = run.begin; t < run.end; t = blocks.back().end) {
      blocks.push_back({t, t + QuantizedLayout::block_tokens(t, run.end)});
    }
  }
  context.pool.run(blocks.size(), [&](size_t item, size_t) {
    const auto [begin, end] = blocks[item];
    for (size_t t = begin; weights.weight && t < end; ++t) {
      normalize(norm, weights, in + t * values, values, normed + t * values);
    }
    if (!quantized) return;
    quantize_block(input.floats + begin * values, end - begin, values,
                   quantized + begin * QuantizedLayout{values}.row_bytes());
  });
  return input;
}

void normalize(const Norm& norm, const NormWeights& weights, const float* x, size_t count,
               float* y) {
  const auto size = static_cast<float>(count);
  const bool layer = norm.kind == Norm::Kind::kLayer;
  const float mean = layer ? sum_of(count, [&](size_t i) { return x[i]; }) / size : 0;
  const float squares = sum_of(count, [&](size_t i) { return (x[i] - mean) * (x[i] - mean); });
  const float scale = 1.0f / std::sqrt(squares / size + norm.epsilon);
  for (size_t i = 0; i < count; ++i) y[i] = (x[i] - mean) * scale;
  for (size_t i = 0; weights.weight && i < count; ++i) y[i] *= weights.weight[i];
  if (!weights.bias) return;
  for (size_t i = 0; i < count; ++i) y[i] += weights.bias[i];
}

void run(const AddNormed& op, Context& context) {
  const size_t width = context.width(op.out);
  const NormWeights weights = context.norm(op.norm);
  context.pool.run(context.rows(op.in), [&](size_t row, size_t) {
    float* normed = context.floats(context.workspace.normed) + row * width;
    const float* in = context.value(op.in) + row * width;
    if (weights.weight) normalize(op.norm, weights, in, width, normed);
    const float* branch = weights.weight ? normed : in;
    const float* add = context.value(op.add) + row * width;
    float* out = context.value(op.out) + row * width;
    for (size_t i = 0; i < width; ++i) out[i] = add[i] + op.scale * branch[i];
  });
}

void run(const Projection& op, Context& context) {
  const size_t values = context.weights[op.outputs[0].weight].tensor.row_values();
  const size_t tokens = context.rows(op.in);
  bool any_quantized = false;
  for (const Linear& linear : op.outputs) {
    any_quantized |= !gguf::info(context.weights[linear.weight].tensor.format).is_float();
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
    if (linear.gate != kAbsent) task.gate = context.value(linear.gate);
    task.scale = linear.scale;
    task.activation = op.activation;
    const bool gated = op.activation != Activation::kNone && op.outputs.size() == 2;
    if (gated) {
      task.up = &matrices[1];
      task.up_bias = context.vector(op.outputs[1].bias);
    }
    tasks.push_back(task);
    if (gated) break;  // the second output was the first one's `up`
  }
  run_linear(tasks, context);
}

}  // namespace quern::kernels::cpu

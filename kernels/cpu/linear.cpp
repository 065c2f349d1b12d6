#include "kernels/cpu/linear.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "kernels/cpu/finish_tile.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/normalize.h"
#include "kernels/cpu/packed.h"
#include "kernels/cpu/vector_math.h"

namespace quern::kernels::cpu {
namespace {

// Tokens that one call works on: bounds the scratch, and keeps a tile's results in the cache.
constexpr size_t kTokenSlice = 512;

// out[tokens][kRowTile] = sums of two planes each.
void add_planes(size_t tokens, float* out) {
  for (size_t t = 0; t < tokens; ++t) {
    const float* columns = out + 2 * t * kRowTile;
    for (size_t r = 0; r < kRowTile; ++r)
      out[t * kRowTile + r] = columns[r] + columns[kRowTile + r];
  }
}

// Products of one tile of matrix rows with tokens [first, first + count): out[count][kRowTile], of
// two planes twice as much to work in. `first`: a multiple of kTokenBlock.
void multiply(const Matrix& matrix, const LinearInput& input, size_t row, size_t first,
              size_t count, float* out, std::byte* scratch) {
  const LinearInput part = input.part({first, first + count});
  const size_t columns = gguf::info(matrix.format).is_float() ? count : count * input.planes;
  const WeightTile tile = matrix.tile(row / kRowTile);
  matmul_tile({.format = matrix.format,
               .weights = tile.bytes,
               .row_bytes = tile.stride,
               .rows = std::min(kRowTile, matrix.rows - row),
               .values = input.values,
               .quantized = part.quantized,
               .halves = part.halves,
               .floats = part.floats,
               .tokens = columns,
               .out = out},
              scratch);
  if (columns == 2 * count) add_planes(count, out);
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
  float* up = result + slice * kRowTile;  // of two planes, the results' second half
  std::byte* rest = reinterpret_cast<std::byte*>(up + slice * kRowTile);
  assert(!task.up || task.input.planes < 2);
  for (size_t first = 0; first < task.input.tokens; first += slice) {
    const size_t count = std::min(slice, task.input.tokens - first);
    multiply(task.matrix, task.input, row, first, count, result, rest);
    add_bias(task.bias ? task.bias + row : nullptr, rows, count, result);
    if (task.up) {
      multiply(*task.up, task.input, row, first, count, up, rest);
      add_bias(task.up_bias ? task.up_bias + row : nullptr, rows, count, up);
    }
    activate(task.activation, result, task.up ? up : nullptr, count * kRowTile);
    const size_t start = first * task.matrix.rows + row;
    finish_tile({.tile = result,
                 .tokens = count,
                 .rows = rows,
                 .scale = task.scale,
                 .gate = task.gate ? task.gate + first : nullptr,
                 .add = task.add ? task.add + start : nullptr,
                 .out = task.out + start,
                 .stride = task.matrix.rows});
  }
}

void show_inputs(std::span<const LinearTask> tasks, const Executable::InputObserver& observer) {
  for (const LinearTask& task : tasks) {
    const std::span rows(task.input.floats, task.input.tokens * task.input.values);
    observer(task.matrix.name, task.matrix.expert, rows, task.input.values);
    if (task.up) observer(task.up->name, task.up->expert, rows, task.input.values);
  }
}

}  // namespace

InputForms input_forms(const Program& program, const Projection& op) {
  InputForms forms;
  for (const Linear& linear : op.outputs) {
    forms = forms | InputForms::of(program.weights[linear.weight].format, op.planes);
  }
  return forms;
}

LinearInput LinearInput::part(const TokenRun& run) const {
  LinearInput part = *this;
  part.floats += run.begin * values;
  if (quantized) part.quantized += run.begin * planes * QuantizedLayout{values}.row_bytes();
  if (halves) part.halves += run.begin * halves_stride(values);
  part.tokens = run.end - run.begin;
  return part;
}

Matrix Matrix::of(const Weight& weight, size_t expert) {
  const gguf::TensorView& tensor = weight.tensor;
  const PackedMatrices& packed = weight.packed;
  const size_t rows = tensor.shape[1], row_bytes = tensor.row_bytes();
  const size_t before = expert * row_tiles(rows);  // tiles of the experts before it
  return {.name = tensor.name,
          .expert = expert,
          .format = tensor.format,
          .rows = rows,
          .mapped = tensor.bytes.data() + expert * rows * row_bytes,
          .row_bytes = row_bytes,
          .packed = packed.data + expert * packed.matrix_bytes,
          .tile_bytes = packed.tile_bytes,
          .packed_tiles = packed.tiles - std::min(packed.tiles, before)};
}

WeightTile Matrix::tile(size_t index) const {
  if (index < packed_tiles) return {packed + index * tile_bytes, WeightTile::kPacked};
  return {mapped + index * kRowTile * row_bytes, row_bytes};
}

const std::byte* weight_row(const Weight& weight, size_t row, std::byte* memory) {
  const gguf::TensorView& tensor = weight.tensor;
  const WeightTile tile = Matrix::of(weight).tile(row / kRowTile);
  const size_t within = row % kRowTile;
  if (tile.stride != WeightTile::kPacked) return tile.bytes + within * tile.stride;
  const size_t panel_bytes = packed_tile_bytes(tensor.format, tensor.row_values());
  format_kernels(tensor.format)
      .unpack_row(tile.bytes + within / kPanelRows * panel_bytes, within % kPanelRows,
                  tensor.row_bytes(), memory);
  return memory;
}

size_t linear_scratch_bytes(size_t tokens) {
  const size_t slice = std::min(kTokenSlice, tokens);
  return 2 * slice * kRowTile * sizeof(float) + matmul_scratch_bytes();
}

void run_linear(std::span<const LinearTask> tasks, Context& context) {
  if (context.observer) show_inputs(tasks, context.observer);
  // ends[i]: number of tiles in tasks 0 … i, so that one loop hands out the tiles of all of them.
  std::vector<size_t> ends;
  size_t total = 0;
  for (const LinearTask& task : tasks) ends.push_back(total += row_tiles(task.matrix.rows));
  context.pool.run(total, [&](size_t item, size_t worker) {
    const size_t index = std::upper_bound(ends.begin(), ends.end(), item) - ends.begin();
    const size_t begin = index == 0 ? 0 : ends[index - 1];
    run_tile(tasks[index], item - begin, context.scratch(worker));
  });
}

LinearInput prepare_input(const float* in, size_t values, size_t tokens, const Norm& norm,
                          float* normed, InputForms forms, std::byte* memory, Context& context,
                          std::span<const TokenRun> runs) {
  const NormWeights weights = context.norm(norm);
  std::byte* quantized = forms.planes > 0 ? memory : nullptr;
  auto* halves =
      forms.halves
          ? reinterpret_cast<uint16_t*>(memory + InputForms{forms.planes}.bytes(values, tokens))
          : nullptr;
  const LinearInput input{.floats = weights.weight ? normed : in,
                          .quantized = quantized,
                          .planes = forms.planes,
                          .halves = halves,
                          .values = values,
                          .tokens = tokens};
  if (!weights.weight && !quantized && !halves) return input;
  std::vector<TokenRun> blocks;
  const TokenRun all{0, tokens};
  for (const TokenRun& run : runs.empty() ? std::span(&all, 1) : runs) {
    for (size_t t = run.begin; t < run.end; t = blocks.back().end) {
      const size_t planes = std::max<size_t>(forms.planes, 1);
      const size_t columns = QuantizedLayout::block_tokens(t * planes, run.end * planes);
      blocks.push_back({t, t + columns / planes});
    }
  }
  context.pool.run(blocks.size(), [&](size_t item, size_t) {
    const auto [begin, end] = blocks[item];
    for (size_t t = begin; t < end; ++t) {
      if (weights.weight) normalize(norm, weights, in + t * values, values, normed + t * values);
      if (!halves) continue;
      round_to_halves(input.floats + t * values, values, halves + t * halves_stride(values));
    }
    if (!quantized) return;
    quantize_block(input.floats + begin * values, end - begin, forms.planes, values,
                   quantized + begin * forms.planes * QuantizedLayout{values}.row_bytes());
  });
  return input;
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
  const LinearInput input = prepare_input(
      context.value(op.in), values, tokens, op.norm, context.floats(context.workspace.normed),
      input_forms(context.program, op), context.memory + context.workspace.forms, context);

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
    if (op.gated()) {
      task.up = &matrices[1];
      task.up_bias = context.vector(op.outputs[1].bias);
    }
    tasks.push_back(task);
    if (op.gated()) break;  // the second output was the first one's `up`
  }
  run_linear(tasks, context);
}

}  // namespace quern::kernels::cpu

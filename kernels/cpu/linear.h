// Matrix products over all rows of a batch, spread over the threads by tiles of weight rows.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "kernels/cpu/activations.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/format_kernels.h"

namespace quern::kernels::cpu {

// Tokens [begin, end).
struct TokenRun {
  size_t begin, end;
};

// Activations ready for a product: [tokens][values], in the form that the weights ask for.
struct LinearInput {
  const float* floats = nullptr;         // row stride = values
  const std::byte* quantized = nullptr;  // QuantizedLayout{values}, whole blocks of columns
  size_t planes = 0;                     // columns per token
  const uint16_t* halves = nullptr;      // row stride = halves_stride(values)
  size_t values;
  size_t tokens;

  // Of quantized forms, tokens.begin begins a block.
  LinearInput part(const TokenRun& tokens) const;
};

struct Matrix {
  std::string_view name;  // of its tensor
  size_t expert;          // which of the stack
  gguf::Format format;
  size_t rows;
  const std::byte* mapped;
  size_t row_bytes;         // as in the file
  const std::byte* packed;  // its first packed_tiles tiles of kRowTile rows are read here
  size_t tile_bytes;        // from one to the next
  size_t packed_tiles;

  // Matrix `expert` of a stack.
  static Matrix of(const Weight& weight, size_t expert = 0);

  // Rows from `index` * kRowTile on.
  WeightTile tile(size_t index) const;
};

// A row of a weight as the file has it: there, or once it is packed, copied to `memory` of
// row_bytes.
const std::byte* weight_row(const Weight& weight, size_t row, std::byte* memory);

// y[t][r] = activation(matrix_r · input_t (+ bias_r)), or with `up`:
// y[t][r] = activation(matrix_r · input_t (+ bias_r)) * (up_r · input_t (+ up_bias_r)), then
// out[t][r] = gate[t] * scale * y[t][r] (+ add[t][r]).
struct LinearTask {
  LinearInput input;
  Matrix matrix;
  const Matrix* up = nullptr;
  const float* bias = nullptr;
  const float* up_bias = nullptr;
  Activation activation = Activation::kNone;
  float scale = 1;
  const float* gate = nullptr;  // [tokens]
  const float* add = nullptr;   // row stride = matrix.rows; may be `out`
  float* out;                   // row stride = matrix.rows
};

void run_linear(std::span<const LinearTask> tasks, Context& context);

// Per-thread scratch that run_linear needs for inputs of up to `tokens` tokens, in bytes.
size_t linear_scratch_bytes(size_t tokens);

// The forms that the weights of a projection read.
InputForms input_forms(const Program& program, const Projection& op);

// Normalizes rows of in[tokens][values] into `normed` (if there is a norm) and brings them into the
// wanted forms, in `memory` of forms.bytes(); returns what a product may read. `runs`: tokens whose
// blocks of quantized activations begin anew; none: all are one run.
LinearInput prepare_input(const float* in, size_t values, size_t tokens, const Norm& norm,
                          float* normed, InputForms forms, std::byte* memory, Context& context,
                          std::span<const TokenRun> runs = {});

}  // namespace quern::kernels::cpu

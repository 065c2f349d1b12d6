// Matrix times activations, one tile of weight rows at a time: the inner loop of decode and
// prefill.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gguf/format.h"
#include "kernels/cpu/activations.h"
#include "kernels/cpu/format_kernels.h"

namespace quern::kernels::cpu {

inline constexpr size_t kRowTile = 2 * kPanelRows;  // weight rows that one call works on
constexpr size_t row_tiles(size_t rows) { return (rows + kRowTile - 1) / kRowTile; }
inline constexpr size_t kFloatChain = 64;  // values of a float format that are summed from zero
inline constexpr size_t kFloatScratchBytes = 2 * kPanelValues * kRowTile * sizeof(float);

// out[t][r] = sum over k of W[r][k] * x[t][k],  r < rows, t < tokens.
// Results do not depend on `rows`, `tokens`, packing or the instruction set (any with FMA): each
// output is one chain in a fixed order, see reference::dot_quantized and reference::dot_float.
struct MatMulTile {
  gguf::Format format;
  const std::byte* weights;  // first row of the tile
  size_t row_bytes;          // rows follow each other every row_bytes; WeightTile::kPacked: packed
  size_t rows;               // 1 … kRowTile
  size_t values;             // k: values per row
  // Activations, in the form that the format reads (activations.h).
  const std::byte* quantized;  // QuantizedLayout{values}, from the first token of a block on
  const uint16_t* halves;      // BF16 [tokens][halves_stride(values)]
  const float* floats;         // [tokens][values]
  size_t tokens;
  float* out;  // [tokens][kRowTile], 64-byte aligned; what lies past `rows` is written too
};

// Scratch that matmul_tile needs per thread, in bytes.
size_t matmul_scratch_bytes();

// `scratch`: matmul_scratch_bytes() bytes, 64-byte aligned.
void matmul_tile(const MatMulTile& tile, std::byte* scratch);

// Decodes a row of any format to f32, equal to the bit to reference::decode_row.
void decode_row(gguf::Format format, const std::byte* row, float* out, size_t values);

// The instruction set that the kernels above run on here, for reports: "AVX3_DL", "AVX2", …
const char* instruction_set();

}  // namespace quern::kernels::cpu

// What a format brings to the integer kernels: one file in formats/ each.
#pragma once

#include <cstddef>
#include <cstdint>

#include "gguf/format.h"
#include "kernels/cpu/panel.h"

namespace quern::kernels::cpu {

// 16 rows of a weight matrix: as in the file, `stride` bytes apart, or packed (see packed.h).
struct WeightTile {
  static constexpr size_t kPacked = 0;

  const std::byte* bytes;
  size_t stride;
};

struct MatMulTile;

struct FormatKernels {
  // Unpacks values k … k + values - 1 of 16 rows into the panel's first columns; k: a multiple of
  // 256 or 0, values: a multiple of the format's block, at most 256.
  void (*unpack)(const WeightTile& tile, size_t k, size_t values, Panel& panel) = nullptr;
  // The same for products, 256 values from k on: null unless the format codes scales or minimums.
  void (*unpack_product)(const WeightTile& tile, size_t k, Panel& panel) = nullptr;
  // out[tokens][kRowTile], of which 16: rows of `values` values times a block of 1 or 2 tokens.
  void (*gemv)(const WeightTile& tile, const std::byte* x, size_t tokens, size_t values,
               float* out) = nullptr;
  // Packs `rows` <= 16 rows of row_bytes bytes; `tile`: packed_tile_bytes(), 64-byte aligned.
  void (*pack)(const std::byte* rows_start, size_t rows, size_t row_bytes,
               std::byte* tile) = nullptr;
  // One row of such a tile, as the file has it.
  void (*unpack_row)(const std::byte* tile, size_t row, size_t row_bytes, std::byte* out) = nullptr;
  // Float formats: matmul_tile, whole. They have none of the above but the two for packing.
  void (*multiply)(const MatMulTile& tile, std::byte* scratch) = nullptr;
};

// The kernels of a format on this machine; none on one without SIMD, or for a format that has no
// file in formats/.
FormatKernels format_kernels(gguf::Format format);

// FormatKernels::unpack where there is one, otherwise the scalar reference.
void unpack_panel(gguf::Format format, const WeightTile& tile, size_t k, size_t values,
                  Panel& panel);
// The panel that products want: with integers where the format has them (panel.h).
void unpack_product_panel(gguf::Format format, const WeightTile& tile, size_t k, size_t values,
                          Panel& panel);

}  // namespace quern::kernels::cpu

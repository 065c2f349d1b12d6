// From the products of a tile to the rows of a value.
#pragma once

#include <cstddef>

namespace quern::kernels::cpu {

// out[t * stride + r] = gate[t] * scale * tile[t][r] (+ add[t * stride + r]), r < rows.
struct FinishTile {
  const float* tile;  // [tokens][kRowTile], 64-byte aligned
  size_t tokens;
  size_t rows;  // 1 … kRowTile
  float scale;
  const float* gate;  // null: 1
  const float* add;   // null: nothing; may be `out`
  float* out;
  size_t stride;
};
void finish_tile(const FinishTile& task);

}  // namespace quern::kernels::cpu

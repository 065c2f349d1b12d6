#include "kernels/cpu/matmul.h"

#include "kernels/cpu/reference.h"

namespace quern::kernels::cpu {

size_t matmul_scratch_bytes(size_t) { return 0; }

void matmul_tile(const MatMulTile& tile, std::byte*) {
  const QuantizedLayout layout{tile.values};
  for (size_t t = 0; t < tile.tokens; ++t) {
    for (size_t r = 0; r < tile.rows; ++r) {
      const std::byte* row = tile.weights + r * tile.row_bytes;
      float& out = tile.out[t * tile.out_stride + r];
      if (gguf::info(tile.format).is_float()) {
        out = reference::dot_float(tile.format, row, tile.floats + t * tile.float_stride,
                                   tile.values);
      } else {
        const QuantizedRow x = layout.row(const_cast<std::byte*>(tile.quantized), t);
        out = reference::dot_quantized(tile.format, row, x, tile.values);
      }
    }
  }
}

void decode_row(gguf::Format format, const std::byte* row, float* out, size_t values) {
  reference::decode_row(format, row, out, values);
}

const char* instruction_set() { return "scalar"; }

}  // namespace quern::kernels::cpu

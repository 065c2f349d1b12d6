#include "kernels/cpu/matmul.h"

#include "kernels/cpu/matmul_parts.h"
#include "kernels/cpu/reference.h"

namespace quern::kernels::cpu {

void matmul_tile(const MatMulTile& tile, std::byte* scratch) {
  if (gguf::info(tile.format).is_float()) {
    matmul_float(tile);
  } else {
    matmul_quantized(tile, scratch);
  }
}

// Rows are decoded to gather embeddings, one per token: too little work to need SIMD.
void decode_row(gguf::Format format, const std::byte* row, float* out, size_t values) {
  reference::decode_row(format, row, out, values);
}

}  // namespace quern::kernels::cpu

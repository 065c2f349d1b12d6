#include "kernels/cpu/matmul.h"

#include "kernels/cpu/matmul_parts.h"

namespace quern::kernels::cpu {

void matmul_tile(const MatMulTile& tile, std::byte* scratch) {
  if (gguf::info(tile.format).is_float()) {
    matmul_float(tile);
  } else {
    matmul_quantized(tile, scratch);
  }
}

}  // namespace quern::kernels::cpu

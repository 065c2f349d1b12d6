#include "kernels/cpu/activations.h"

#include "kernels/cpu/reference.h"

namespace quern::kernels::cpu {

void quantize_row(const float* x, size_t values, const QuantizedRow& out) {
  reference::quantize_row(x, values, out);
}

}  // namespace quern::kernels::cpu

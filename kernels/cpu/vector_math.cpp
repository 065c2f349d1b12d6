#include "kernels/cpu/vector_math.h"

#include "kernels/cpu/vector_math_kernels.h"

namespace quern::kernels::cpu {

// Compiled elsewhere, with the flags of their instruction set.
#define QUERN_INSTANTIATED_ELSEWHERE(arch)                                        \
  extern template void ExpShifted::operator()<arch>(arch, float*, size_t, float); \
  extern template void SiluMultiply::operator()<arch>(arch, float*, const float*, size_t)
QUERN_INSTANTIATED_ELSEWHERE(xsimd::fma3<xsimd::avx2>);
QUERN_INSTANTIATED_ELSEWHERE(xsimd::sse2);
#undef QUERN_INSTANTIATED_ELSEWHERE

void exp_shifted(float* x, size_t count, float shift) {
  static auto call = xsimd::dispatch<VectorMathArchs>(ExpShifted{});
  call(x, count, shift);
}

void silu_multiply(float* gate, const float* up, size_t count) {
  static auto call = xsimd::dispatch<VectorMathArchs>(SiluMultiply{});
  call(gate, up, count);
}

}  // namespace quern::kernels::cpu

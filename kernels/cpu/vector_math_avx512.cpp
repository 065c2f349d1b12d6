#include "kernels/cpu/vector_math_kernels.h"

namespace quern::kernels::cpu {

template void ExpShifted::operator()(xsimd::avx512bw, float*, size_t, float);
template void SiluMultiply::operator()(xsimd::avx512bw, float*, const float*, size_t);

}  // namespace quern::kernels::cpu

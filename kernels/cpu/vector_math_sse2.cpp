#include "kernels/cpu/vector_math_kernels.h"

namespace quern::kernels::cpu {

template void ExpShifted::operator()(xsimd::sse2, float*, size_t, float);
template void SiluMultiply::operator()(xsimd::sse2, float*, const float*, size_t);

}  // namespace quern::kernels::cpu

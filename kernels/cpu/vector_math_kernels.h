// The bodies of vector_math.h, instantiated once per instruction set: each vector_math_ARCH.cpp is
// compiled with that set's flags. Who else includes this header may only call what they made.
#pragma once

#include <algorithm>
#include <cstddef>
#include <xsimd/xsimd.hpp>

namespace quern::kernels::cpu {

// Every set that there is a source file for, best first. AVX2 counts only together with FMA. Not
// AVX-512: some versions of xsimd use no fma there, so its bits differ, and it is hardly faster.
using VectorMathArchs = xsimd::arch_list<xsimd::fma3<xsimd::avx2>, xsimd::sse2>;

struct ExpShifted {
  template <class Arch>
  void operator()(Arch, float* x, size_t count, float shift);
};

struct SiluMultiply {
  template <class Arch>
  void operator()(Arch, float* gate, const float* up, size_t count);
};

// Calls step(values...) on whole vectors; the last, partial one goes through zero-padded copies.
template <class Arch, class Step>
void for_vectors(float* x, const float* y, size_t count, Step step) {
  using Batch = xsimd::batch<float, Arch>;
  size_t i = 0;
  for (; i + Batch::size <= count; i += Batch::size) {
    step(Batch::load_unaligned(x + i), y ? Batch::load_unaligned(y + i) : Batch(0.0f))
        .store_unaligned(x + i);
  }
  if (i == count) return;
  float x_padded[Batch::size] = {}, y_padded[Batch::size] = {};
  for (size_t j = 0; i + j < count; ++j) {
    x_padded[j] = x[i + j];
    if (y) y_padded[j] = y[i + j];
  }
  step(Batch::load_unaligned(x_padded), Batch::load_unaligned(y_padded)).store_unaligned(x_padded);
  for (size_t j = 0; i + j < count; ++j) x[i + j] = x_padded[j];
}

template <class Arch>
void ExpShifted::operator()(Arch, float* x, size_t count, float shift) {
  using Batch = xsimd::batch<float, Arch>;
  for_vectors<Arch>(x, nullptr, count,
                    [shift](Batch v, Batch) { return xsimd::exp(v - Batch(shift)); });
}

template <class Arch>
void SiluMultiply::operator()(Arch, float* gate, const float* up, size_t count) {
  using Batch = xsimd::batch<float, Arch>;
  for_vectors<Arch>(gate, up, count,
                    [](Batch g, Batch u) { return g / (Batch(1.0f) + xsimd::exp(-g)) * u; });
}

}  // namespace quern::kernels::cpu

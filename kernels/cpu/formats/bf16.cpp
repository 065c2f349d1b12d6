// BF16 (spec: block formats). Activations are rounded to BF16 too, so that one instruction, where
// there is one, multiplies two values of 16 rows. It takes subnormal numbers for zeros, and so does
// everything here.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/formats/bf16.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/formats/floats-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// Of a word, the upper value comes first in the chain, because the instruction adds them so.
struct Bf16Line {
  static constexpr size_t kValues = 2;
  using Input = uint16_t;
  struct Weights {
    VF upper, lower;
  };
  using Inputs = Weights;

  static HWY_INLINE Weights Split(V32 words) {
    return {hn::BitCast(DF(), hn::And(words, hn::Set(D32(), 0xFFFF0000))),
            hn::BitCast(DF(), hn::ShiftLeft<16>(words))};
  }
  static HWY_INLINE V32 Word(const Input* x) {
    uint32_t word;
    std::memcpy(&word, x, sizeof word);
    return hn::Set(D32(), word);
  }

  static HWY_INLINE Weights Load(const uint32_t* line) { return Split(hn::Load(D32(), line)); }
  static HWY_INLINE Inputs Broadcast(const Input* x) { return Split(Word(x)); }
  static HWY_INLINE VF Multiply(const Weights& w, const Inputs& x, VF sum) {
    return hn::MulAdd(w.lower, x.lower, hn::MulAdd(w.upper, x.upper, sum));
  }
};

#if HWY_TARGET == HWY_AVX3_DL
struct NativeBf16Line {
  static constexpr size_t kValues = 2;
  using Input = uint16_t;
  using Weights = V32;
  using Inputs = V32;

  static HWY_INLINE Weights Load(const uint32_t* line) { return hn::Load(D32(), line); }
  static HWY_INLINE Inputs Broadcast(const Input* x) { return Bf16Line::Word(x); }
  static HWY_INLINE VF Multiply(Weights w, Inputs x, VF sum) {
    return VF{_mm512_dpbf16_ps(sum.raw, (__m512bh)w.raw, (__m512bh)x.raw)};
  }
};
#endif

// Subnormal operands and results are zeros while it lives (x86; elsewhere they stay).
class FlushSubnormals {
#if HWY_ARCH_X86
 public:
  FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(before_); }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
  unsigned before_;
#endif
};

template <class Line>
void Multiply(const MatMulTile& tile, std::byte* scratch) {
  [[maybe_unused]] const FlushSubnormals flush;
  const size_t stride = halves_stride(tile.values);
  const auto add = [&](const TileLines& lines, size_t k, size_t, FloatScratch&) HWY_ATTR {
    AddProducts<Line>(lines, tile.halves + k, stride, tile.tokens, tile.out);
  };
  EachSlice<gguf::Format::BF16>(tile, scratch, add);
}

void MultiplyBF16(const MatMulTile& tile, std::byte* scratch) {
#if HWY_TARGET == HWY_AVX3_DL
  static const bool native = __builtin_cpu_supports("avx512bf16");
  if (native) return Multiply<NativeBf16Line>(tile, scratch);
#endif
  Multiply<Bf16Line>(tile, scratch);
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

QUERN_FLOAT_KERNELS(BF16)

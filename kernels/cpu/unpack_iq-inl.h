// SIMD unpackers of the i-quants with codebooks (spec: block formats, section 5): every lane
// gathers the four values that its own index picks.
#if defined(QUERN_UNPACK_IQ_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_UNPACK_IQ_INL_H_
#undef QUERN_UNPACK_IQ_INL_H_
#else
#define QUERN_UNPACK_IQ_INL_H_
#endif

#include "kernels/cpu/codebooks.h"
#include "kernels/cpu/unpack_lanes-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// `count` bits of every lane from bit `first` on.
HWY_INLINE V32 Bits(V32 w, int first, int count) {
  return hn::And(hn::ShiftRightSame(w, first), Splat((1u << count) - 1));
}

// Word `word` of codebook entry `index`: runs of 8 have two words, runs of 4 one.
template <size_t Run, size_t Entries>
HWY_INLINE V32 Gather(const Codebook<Run, Entries>& book, V32 index, size_t word) {
  const hn::RebindToSigned<D32> di;
  const auto* words = reinterpret_cast<const uint32_t*>(book.data()) + word;
  return hn::GatherIndex(D32(), words, hn::BitCast(di, Run == 8 ? hn::Add(index, index) : index));
}

// 128 + or - four magnitudes (1 … 127); bit j of `signs` (4 bits) makes value j negative. With s =
// 0 or 1: 128 + m, or 128 - m = ~(m + 127).
HWY_INLINE V32 ApplySigns(V32 magnitudes, V32 signs) {
  const V32 ones = SpreadBits(signs);
  const V32 mask = hn::Sub(hn::ShiftLeft<8>(ones), ones);  // ones * 255
  return hn::Xor(hn::Sub(hn::Add(magnitudes, SplatByte(kPanelBias)), ones), mask);
}

// The 8-bit sign mask of 7 stored bits: see sign_mask().
HWY_INLINE V32 SignMask(V32 bits7) {
  V32 parity = hn::Xor(bits7, hn::ShiftRight<4>(bits7));
  parity = hn::Xor(parity, hn::ShiftRight<2>(parity));
  parity = hn::Xor(parity, hn::ShiftRight<1>(parity));
  return hn::Or(bits7, hn::ShiftLeft<7>(hn::And(parity, Splat(1))));
}

// Values k … k + 7 from one codebook entry and 8 signs.
template <size_t Entries>
HWY_INLINE void StoreRun(const Codebook<8, Entries>& book, V32 index, V32 signs, size_t k,
                         const Columns& out) {
  out.Codes(k, ApplySigns(Gather(book, index, 0), Bits(signs, 0, 4)));
  out.Codes(k + 4, ApplySigns(Gather(book, index, 1), Bits(signs, 4, 4)));
}

// d * (s + 1/2) * factor.
HWY_INLINE VF HalfStepScale(VF d, V32 s, float factor) {
  const DF df;
  return hn::Mul(hn::Mul(d, hn::Add(ToFloat(s), hn::Set(df, 0.5f))), hn::Set(df, factor));
}
// d * (2 s + 1) * factor.
HWY_INLINE VF OddScale(VF d, V32 s, float factor) {
  const DF df;
  const V32 odd = hn::Add(hn::Add(s, s), Splat(1));
  return hn::Mul(hn::Mul(d, ToFloat(odd)), hn::Set(df, factor));
}

// The 16 scales of IQ2_XS and IQ2_S: nibbles of two words.
HWY_INLINE void StoreNibbleScales(VF d, V32 first, V32 second, const Columns& out) {
  for (int b = 0; b < 8; ++b) {
    out.Scale(b, HalfStepScale(d, Bits(first, 4 * b, 4), 0.25f));
    out.Scale(b + 8, HalfStepScale(d, Bits(second, 4 * b, 4), 0.25f));
  }
}

template <>
struct Unpacker<gguf::Format::IQ2_XXS> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const VF d = HalfToFloat(LoadWords(rows, 0).w[0]);
    for (size_t g = 0; g < 8; ++g) {  // two groups per 16 bytes: indices, then signs and scale
      const FourWords words = LoadWords(rows, 2 + 16 * (g / 2));
      const V32 indices = words.w[2 * (g % 2)];
      const V32 fields = words.w[2 * (g % 2) + 1];
      for (int l = 0; l < 4; ++l) {
        StoreRun(kIq2XxsCodebook, Bits(indices, 8 * l, 8), SignMask(Bits(fields, 7 * l, 7)),
                 32 * g + 8 * l, out);
      }
      out.Scale(g, HalfStepScale(d, hn::ShiftRight<28>(fields), 0.25f));
    }
  }
};

template <>
struct Unpacker<gguf::Format::IQ2_XS> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const VF d = HalfToFloat(LoadWords(rows, 0).w[0]);
    for (size_t chunk = 0; chunk < 4; ++chunk) {
      const FourWords words = LoadWords(rows, 2 + 16 * chunk);
      for (size_t r = 0; r < 8; ++r) {  // 16 bits per run
        const V32 field = Bits(words.w[r / 2], 16 * (r % 2), 16);
        StoreRun(kIq2XsCodebook, Bits(field, 0, 9), SignMask(hn::ShiftRight<9>(field)),
                 64 * chunk + 8 * r, out);
      }
    }
    const FourWords tail = LoadWords(rows, 58);
    StoreNibbleScales(d, tail.w[2], tail.w[3], out);
  }
};

template <>
struct Unpacker<gguf::Format::IQ2_S> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const VF d = HalfToFloat(LoadWords(rows, 0).w[0]);
    const FourWords tail = LoadWords(rows, 66);  // high index bits, then scales
    for (size_t half = 0; half < 2; ++half) {
      const FourWords qs = LoadWords(rows, 2 + 16 * half);
      const FourWords signs = LoadWords(rows, 34 + 16 * half);
      for (size_t r = 0; r < 16; ++r) {
        const int bit = 8 * (r % 4);
        const V32 high = Bits(tail.w[half], 2 * static_cast<int>(r), 2);
        const V32 index = hn::Or(Bits(qs.w[r / 4], bit, 8), hn::ShiftLeft<8>(high));
        StoreRun(kIq2SCodebook, index, Bits(signs.w[r / 4], bit, 8), 128 * half + 8 * r, out);
      }
    }
    StoreNibbleScales(d, tail.w[2], tail.w[3], out);
  }
};

template <>
struct Unpacker<gguf::Format::IQ3_XXS> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const VF d = HalfToFloat(LoadWords(rows, 0).w[0]);
    for (size_t g = 0; g < 8; ++g) {
      const FourWords qs = LoadWords(rows, 2 + 16 * (g / 2));
      const V32 fields = LoadWords(rows, 66 + 16 * (g / 4)).w[g % 4];
      for (size_t f = 0; f < 8; ++f) {  // an index per four values, signs per eight
        const V32 index = Bits(qs.w[2 * (g % 2) + f / 4], 8 * (f % 4), 8);
        const V32 signs = SignMask(Bits(fields, 7 * (f / 2), 7));
        out.Codes(32 * g + 4 * f,
                  ApplySigns(Gather(kIq3XxsCodebook, index, 0), Bits(signs, 4 * (f % 2), 4)));
      }
      out.Scale(g, HalfStepScale(d, hn::ShiftRight<28>(fields), 0.5f));
    }
  }
};

template <>
struct Unpacker<gguf::Format::IQ3_S> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const VF d = HalfToFloat(LoadWords(rows, 0).w[0]);
    const FourWords high = LoadWords(rows, 66);
    const V32 scales = LoadWords(rows, 94).w[3];
    for (size_t g = 0; g < 8; ++g) {
      const FourWords qs = LoadWords(rows, 2 + 16 * (g / 2));
      const V32 signs = LoadWords(rows, 74 + 16 * (g / 4)).w[g % 4];
      for (size_t f = 0; f < 8; ++f) {
        const int bit = static_cast<int>(8 * (g % 4) + f);
        const V32 ninth = hn::ShiftLeft<8>(Bits(high.w[g / 4], bit, 1));
        const V32 index = hn::Or(Bits(qs.w[2 * (g % 2) + f / 4], 8 * (f % 4), 8), ninth);
        out.Codes(32 * g + 4 * f,
                  ApplySigns(Gather(kIq3SCodebook, index, 0), Bits(signs, 4 * f, 4)));
      }
      out.Scale(g, OddScale(d, Bits(scales, 4 * g, 4), 1.0f));
    }
  }
};

// Values k … k + 7 of IQ1_*: 8 times (-1, 0 or 1), plus 1, or minus 1 where `down` is 1.
HWY_INLINE void StoreShiftedRun(V32 index, V32 down, size_t k, const Columns& out) {
  const hn::Repartition<uint8_t, D32> d8;
  const V32 halves = hn::Or(down, hn::ShiftLeft<8>(down));
  const V32 bytes = hn::Or(halves, hn::ShiftLeft<16>(halves));
  const V32 offset = hn::Sub(SplatByte(kPanelBias - 8 + 1), hn::Add(bytes, bytes));
  for (size_t word = 0; word < 2; ++word) {
    const auto values = hn::BitCast(d8, Gather(kIq1Codebook, index, word));
    const V32 from0 = hn::BitCast(D32(), hn::Add(values, hn::Set(d8, 1)));  // 0, 1, 2
    out.Codes(k + 4 * word, hn::Add(hn::ShiftLeft<3>(from0), offset));
  }
}

template <>
struct Unpacker<gguf::Format::IQ1_S> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const VF d = HalfToFloat(LoadWords(rows, 0).w[0]);
    const FourWords high = LoadWords(rows, 34);
    for (size_t g = 0; g < 8; ++g) {
      const V32 qs = LoadWords(rows, 2 + 16 * (g / 4)).w[g % 4];
      const V32 fields = Bits(high.w[g / 2], 16 * (g % 2), 16);
      for (int l = 0; l < 4; ++l) {
        const V32 upper = hn::ShiftLeft<8>(Bits(fields, 3 * l, 3));
        StoreShiftedRun(hn::Or(Bits(qs, 8 * l, 8), upper), hn::ShiftRight<15>(fields),
                        32 * g + 8 * l, out);
      }
      out.Scale(g, OddScale(d, Bits(fields, 12, 3), 0.125f));
    }
  }
};

template <>
struct Unpacker<gguf::Format::IQ1_M> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const FourWords high = LoadWords(rows, 32);
    for (size_t half = 0; half < 2; ++half) {
      const FourWords qs = LoadWords(rows, 16 * half);
      for (size_t r = 0; r < 16; ++r) {  // four high bits per run: three of the index, the shift
        const V32 fields = Bits(high.w[2 * half + r / 8], 4 * (r % 8), 4);
        const V32 upper = hn::ShiftLeft<8>(Bits(fields, 0, 3));
        StoreShiftedRun(hn::Or(Bits(qs.w[r / 4], 8 * (r % 4), 8), upper), hn::ShiftRight<3>(fields),
                        128 * half + 8 * r, out);
      }
    }
    const FourWords tail = LoadWords(rows, 40);
    Scales(tail.w[2], tail.w[3], out);
  }

  // Four 16-bit words: twelve bits hold four scales, the upper four bits a quarter of d.
  static HWY_INLINE void Scales(V32 first, V32 second, const Columns& out) {
    const V32 lower = hn::Or(Bits(first, 12, 4), hn::ShiftLeft<4>(hn::ShiftRight<28>(first)));
    const V32 upper = hn::Or(Bits(second, 12, 4), hn::ShiftLeft<4>(hn::ShiftRight<28>(second)));
    const VF d = HalfToFloat(hn::Or(lower, hn::ShiftLeft<8>(upper)));
    for (int b = 0; b < 8; ++b) {
      const int bit = 16 * (b / 4) + 3 * (b % 4);
      out.Scale(b, OddScale(d, Bits(first, bit, 3), 0.125f));
      out.Scale(b + 8, OddScale(d, Bits(second, bit, 3), 0.125f));
    }
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif

// SIMD unpackers of the formats with one scale per block (spec: block formats, section 4).
#if defined(QUERN_UNPACK_SIMPLE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_UNPACK_SIMPLE_INL_H_
#undef QUERN_UNPACK_SIMPLE_INL_H_
#else
#define QUERN_UNPACK_SIMPLE_INL_H_
#endif

#include "kernels/cpu/codebooks.h"
#include "kernels/cpu/unpack_lanes-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// 16 bytes of nibbles: the low ones are values 0 … 15, the high ones 16 … 31; `offset` is added.
HWY_INLINE void StoreNibbles(const FourWords& qs, V32 offset, const Columns& out) {
  for (size_t j = 0; j < 4; ++j) {
    out.Codes(4 * j, hn::Add(LowNibbles(qs.w[j]), offset));
    out.Codes(16 + 4 * j, hn::Add(HighNibbles(qs.w[j]), offset));
  }
}

// The same with a fifth bit: bit i of each lane of `fifth` belongs to value i.
HWY_INLINE void StoreNibblesAndFifthBits(const FourWords& qs, V32 fifth, V32 offset,
                                         const Columns& out) {
  V32 low_bits = hn::And(fifth, Splat(0xFFFF));
  V32 high_bits = hn::ShiftRight<16>(fifth);
  for (size_t j = 0; j < 4; ++j) {
    const V32 low = hn::ShiftLeft<4>(SpreadBits(hn::And(low_bits, Splat(15))));
    const V32 high = hn::ShiftLeft<4>(SpreadBits(hn::And(high_bits, Splat(15))));
    out.Codes(4 * j, hn::Add(hn::Or(LowNibbles(qs.w[j]), low), offset));
    out.Codes(16 + 4 * j, hn::Add(hn::Or(HighNibbles(qs.w[j]), high), offset));
    low_bits = hn::ShiftRight<4>(low_bits);
    high_bits = hn::ShiftRight<4>(high_bits);
  }
}

HWY_INLINE void StoreLookedUpNibbles(const FourWords& qs, V32 table, const Columns& out) {
  for (size_t j = 0; j < 4; ++j) {
    out.Codes(4 * j, Lookup(table, LowNibbles(qs.w[j])));
    out.Codes(16 + 4 * j, Lookup(table, HighNibbles(qs.w[j])));
  }
}

template <>
struct Unpacker<gguf::Format::Q4_0> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    StoreNibbles(LoadWords(rows, 2), SplatByte(kPanelBias - 8), out);
    out.Scale(0, HalfToFloat(LoadWords(rows, 0).w[0]));
  }
};

template <>
struct Unpacker<gguf::Format::Q4_1> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    StoreNibbles(LoadWords(rows, 4), SplatByte(kPanelBias), out);
    const V32 head = LoadWords(rows, 0).w[0];
    out.Scale(0, HalfToFloat(head));
    out.Min(0, hn::Neg(UpperHalfToFloat(head)));
  }
};

template <>
struct Unpacker<gguf::Format::Q5_0> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const FourWords head = LoadWords(rows, 0);
    const V32 fifth = hn::Or(hn::ShiftRight<16>(head.w[0]), hn::ShiftLeft<16>(head.w[1]));
    StoreNibblesAndFifthBits(LoadWords(rows, 6), fifth, SplatByte(kPanelBias - 16), out);
    out.Scale(0, HalfToFloat(head.w[0]));
  }
};

template <>
struct Unpacker<gguf::Format::Q5_1> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const FourWords head = LoadWords(rows, 0);
    StoreNibblesAndFifthBits(LoadWords(rows, 8), head.w[1], SplatByte(kPanelBias), out);
    out.Scale(0, HalfToFloat(head.w[0]));
    out.Min(0, hn::Neg(UpperHalfToFloat(head.w[0])));
  }
};

template <>
struct Unpacker<gguf::Format::Q8_0> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const FourWords first = LoadWords(rows, 2);
    const FourWords second = LoadWords(rows, 18);
    for (size_t j = 0; j < 4; ++j) {
      out.Codes(4 * j, hn::Xor(first.w[j], SplatByte(kPanelBias)));
      out.Codes(16 + 4 * j, hn::Xor(second.w[j], SplatByte(kPanelBias)));
    }
    out.Scale(0, HalfToFloat(LoadWords(rows, 0).w[0]));
  }
};

template <>
struct Unpacker<gguf::Format::IQ4_NL> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    StoreLookedUpNibbles(LoadWords(rows, 2), LoadTable(kNl4Codes.data()), out);
    out.Scale(0, HalfToFloat(LoadWords(rows, 0).w[0]));
  }
};

template <>
struct Unpacker<gguf::Format::MXFP4> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    StoreLookedUpNibbles(LoadWords(rows, 1), LoadTable(kFp4Codes.data()), out);
    // 2^(e - 128): subnormal for e = 0 and 1.
    const V32 e = Byte<0>(LoadWords(rows, 0).w[0]);
    const auto is_normal = hn::Gt(e, Splat(1));
    const V32 normal = hn::ShiftLeft<23>(hn::Sub(e, Splat(1)));
    const V32 subnormal = hn::ShiftLeft<21>(hn::Add(e, Splat(1)));
    out.Scale(0, hn::BitCast(DF(), hn::IfThenElse(is_normal, normal, subnormal)));
  }
};

template <>
struct Unpacker<gguf::Format::NVFP4> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const V32 table = LoadTable(kFp4Codes.data());
    for (size_t half = 0; half < 2; ++half) {
      const FourWords qs = LoadWords(rows, 4 + 16 * half);
      for (size_t j = 0; j < 4; ++j) {  // 8 bytes hold 16 values: low nibbles, then high ones
        const size_t k = 32 * half + 16 * (j / 2) + 4 * (j % 2);
        out.Codes(k, Lookup(table, LowNibbles(qs.w[j])));
        out.Codes(k + 8, Lookup(table, HighNibbles(qs.w[j])));
      }
    }
    const V32 scales = LoadWords(rows, 0).w[0];
    out.Scale(0, Ue4m3Half(Byte<0>(scales)));
    out.Scale(1, Ue4m3Half(Byte<1>(scales)));
    out.Scale(2, Ue4m3Half(Byte<2>(scales)));
    out.Scale(3, Ue4m3Half(Byte<3>(scales)));
  }

  // Exponent and mantissa moved to their places in binary32, where the bias is 127 instead of 8.
  static HWY_INLINE VF Ue4m3Half(V32 byte) {
    const V32 bits = hn::ShiftLeft<20>(hn::And(byte, Splat(0x7F)));
    const V32 kept = hn::IfThenZeroElse(hn::Eq(byte, Splat(0x7F)), bits);
    return hn::Mul(hn::BitCast(DF(), kept), hn::Set(DF(), 0x1p119f));
  }
};

template <>
struct Unpacker<gguf::Format::Q1_0> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const FourWords qs = LoadWords(rows, 2);
    const VF d = HalfToFloat(LoadWords(rows, 0).w[0]);
    for (size_t j = 0; j < 4; ++j) {
      V32 bits = qs.w[j];
      for (size_t k = 32 * j; k < 32 * j + 32; k += 4, bits = hn::ShiftRight<4>(bits)) {
        const V32 ones = SpreadBits(hn::And(bits, Splat(15)));
        out.Codes(k, hn::Add(hn::Add(ones, ones), SplatByte(kPanelBias - 1)));
      }
      out.Scale(j, d);
    }
  }
};

template <>
struct Unpacker<gguf::Format::Q2_0> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const FourWords qs = LoadWords(rows, 2);
    const V32 offset = SplatByte(kPanelBias - 1);
    for (size_t j = 0; j < 4; ++j) {
      out.Codes(16 * j, hn::Add(SpreadPairs(Byte<0>(qs.w[j])), offset));
      out.Codes(16 * j + 4, hn::Add(SpreadPairs(Byte<1>(qs.w[j])), offset));
      out.Codes(16 * j + 8, hn::Add(SpreadPairs(Byte<2>(qs.w[j])), offset));
      out.Codes(16 * j + 12, hn::Add(SpreadPairs(Byte<3>(qs.w[j])), offset));
    }
    const VF d = HalfToFloat(LoadWords(rows, 0).w[0]);
    out.Scale(0, d);
    out.Scale(1, d);
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif

// SIMD unpackers of the 256-value formats without codebooks (spec: block formats, sections 4 and
// 5).
#if defined(QUERN_UNPACK_K_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_UNPACK_K_INL_H_
#undef QUERN_UNPACK_K_INL_H_
#else
#define QUERN_UNPACK_K_INL_H_
#endif

#include "kernels/cpu/codebooks.h"
#include "kernels/cpu/unpack_lanes-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// Scales d * byte of four groups from `group` on.
HWY_INLINE void StoreScales(VF d, V32 bytes, size_t group, const Columns& out) {
  out.Scale(group, hn::Mul(d, ToFloat(Byte<0>(bytes))));
  out.Scale(group + 1, hn::Mul(d, ToFloat(Byte<1>(bytes))));
  out.Scale(group + 2, hn::Mul(d, ToFloat(Byte<2>(bytes))));
  out.Scale(group + 3, hn::Mul(d, ToFloat(Byte<3>(bytes))));
}
HWY_INLINE void StoreSignedScales(VF d, V32 bytes, size_t group, const Columns& out) {
  out.Scale(group, hn::Mul(d, hn::ConvertTo(DF(), SignedByte<0>(bytes))));
  out.Scale(group + 1, hn::Mul(d, hn::ConvertTo(DF(), SignedByte<1>(bytes))));
  out.Scale(group + 2, hn::Mul(d, hn::ConvertTo(DF(), SignedByte<2>(bytes))));
  out.Scale(group + 3, hn::Mul(d, hn::ConvertTo(DF(), SignedByte<3>(bytes))));
}
HWY_INLINE void StoreMins(VF dmin, V32 bytes, size_t group, const Columns& out) {
  out.Min(group, hn::Mul(dmin, ToFloat(Byte<0>(bytes))));
  out.Min(group + 1, hn::Mul(dmin, ToFloat(Byte<1>(bytes))));
  out.Min(group + 2, hn::Mul(dmin, ToFloat(Byte<2>(bytes))));
  out.Min(group + 3, hn::Mul(dmin, ToFloat(Byte<3>(bytes))));
}

// Q4_K and Q5_K start alike: d, dmin, then 8 scales and 8 minimums of 6 bits in 12 bytes.
HWY_INLINE void StoreScalesAndMins6Bit(const FourWords& head, const Columns& out) {
  const VF d = HalfToFloat(head.w[0]);
  const VF dmin = UpperHalfToFloat(head.w[0]);
  const V32 a = head.w[1], b = head.w[2], c = head.w[3];
  const V32 six = SplatByte(0x3F), upper = SplatByte(0x30);
  StoreScales(d, hn::And(a, six), 0, out);
  StoreScales(d, hn::Or(LowNibbles(c), hn::And(hn::ShiftRight<2>(a), upper)), 4, out);
  StoreMins(dmin, hn::And(b, six), 0, out);
  StoreMins(dmin, hn::Or(HighNibbles(c), hn::And(hn::ShiftRight<2>(b), upper)), 4, out);
}

// Two-bit codes: four bit planes of 32 values each per 32 bytes. `plane` shifts its two bits down.
template <int kPlane>
HWY_INLINE V32 TwoBits(V32 w) {
  return hn::And(hn::ShiftRight<2 * kPlane>(w), SplatByte(3));
}

template <>
struct Unpacker<gguf::Format::Q2_K> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const V32 bias = SplatByte(kPanelBias);
    for (size_t chunk = 0; chunk < 4; ++chunk) {
      const FourWords qs = LoadWords(rows, 16 + 16 * chunk);
      const size_t start = 128 * (chunk / 2) + 16 * (chunk % 2);
      for (size_t j = 0; j < 4; ++j) {
        const size_t k = start + 4 * j;
        out.Codes(k, hn::Xor(TwoBits<0>(qs.w[j]), bias));
        out.Codes(k + 32, hn::Xor(TwoBits<1>(qs.w[j]), bias));
        out.Codes(k + 64, hn::Xor(TwoBits<2>(qs.w[j]), bias));
        out.Codes(k + 96, hn::Xor(TwoBits<3>(qs.w[j]), bias));
      }
    }
    const V32 factors = LoadWords(rows, 68).w[3];
    const FourWords scales = LoadWords(rows, 0);
    for (size_t j = 0; j < 4; ++j) {
      StoreScales(HalfToFloat(factors), LowNibbles(scales.w[j]), 4 * j, out);
      StoreMins(UpperHalfToFloat(factors), HighNibbles(scales.w[j]), 4 * j, out);
    }
  }
};

template <>
struct Unpacker<gguf::Format::Q3_K> {
  // Codes of four bit planes from one word; bits 0 … 3 of every byte of `high` are their third
  // bits.
  static HWY_INLINE void Planes(V32 w, V32 high, size_t k, const Columns& out) {
    const V32 offset = SplatByte(kPanelBias - 4);
    const V32 four = SplatByte(4);
    out.Codes(k, hn::Add(hn::Or(TwoBits<0>(w), hn::And(hn::ShiftLeft<2>(high), four)), offset));
    out.Codes(k + 32,
              hn::Add(hn::Or(TwoBits<1>(w), hn::And(hn::ShiftLeft<1>(high), four)), offset));
    out.Codes(k + 64, hn::Add(hn::Or(TwoBits<2>(w), hn::And(high, four)), offset));
    out.Codes(k + 96,
              hn::Add(hn::Or(TwoBits<3>(w), hn::And(hn::ShiftRight<1>(high), four)), offset));
  }

  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    for (size_t half = 0; half < 2; ++half) {
      const FourWords high = LoadWords(rows, 16 * half);
      const FourWords first = LoadWords(rows, 32 + 16 * half);
      const FourWords second = LoadWords(rows, 64 + 16 * half);
      for (size_t j = 0; j < 4; ++j) {
        const size_t k = 16 * half + 4 * j;
        Planes(first.w[j], high.w[j], k, out);
        Planes(second.w[j], hn::ShiftRight<4>(high.w[j]), 128 + k, out);
      }
    }
    Scales(LoadWords(rows, 94), out);
  }

  // `tail`: two bytes of codes, 12 bytes of 6-bit scales, d.
  static HWY_INLINE void Scales(const FourWords& tail, const Columns& out) {
    const VF d = UpperHalfToFloat(tail.w[3]);
    const V32 a = hn::Or(hn::ShiftRight<16>(tail.w[0]), hn::ShiftLeft<16>(tail.w[1]));
    const V32 b = hn::Or(hn::ShiftRight<16>(tail.w[1]), hn::ShiftLeft<16>(tail.w[2]));
    const V32 c = hn::Or(hn::ShiftRight<16>(tail.w[2]), hn::ShiftLeft<16>(tail.w[3]));
    const V32 upper = SplatByte(0x30);
    Offset32(d, hn::Or(LowNibbles(a), hn::And(hn::ShiftLeft<4>(c), upper)), 0, out);
    Offset32(d, hn::Or(LowNibbles(b), hn::And(hn::ShiftLeft<2>(c), upper)), 4, out);
    Offset32(d, hn::Or(HighNibbles(a), hn::And(c, upper)), 8, out);
    Offset32(d, hn::Or(HighNibbles(b), hn::And(hn::ShiftRight<2>(c), upper)), 12, out);
  }

  // Scales d * (byte - 32); the subtraction stays within bytes when the top bit is set first.
  static HWY_INLINE void Offset32(VF d, V32 bytes, size_t group, const Columns& out) {
    const V32 top = SplatByte(0x80);
    StoreSignedScales(d, hn::Xor(hn::Sub(hn::Or(bytes, top), SplatByte(32)), top), group, out);
  }
};

template <>
struct Unpacker<gguf::Format::Q4_K> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    StoreScalesAndMins6Bit(LoadWords(rows, 0), out);
    const V32 bias = SplatByte(kPanelBias);
    for (size_t chunk = 0; chunk < 8; ++chunk) {
      const FourWords qs = LoadWords(rows, 16 + 16 * chunk);
      const size_t start = 64 * (chunk / 2) + 16 * (chunk % 2);
      for (size_t j = 0; j < 4; ++j) {
        out.Codes(start + 4 * j, hn::Xor(LowNibbles(qs.w[j]), bias));
        out.Codes(start + 32 + 4 * j, hn::Xor(HighNibbles(qs.w[j]), bias));
      }
    }
  }
};

template <>
struct Unpacker<gguf::Format::Q5_K> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    StoreScalesAndMins6Bit(LoadWords(rows, 0), out);
    const V32 bias = SplatByte(kPanelBias);
    const V32 sixteen = SplatByte(16);
    for (size_t half = 0; half < 2; ++half) {
      // Bit g of every byte of `fifth` is the fifth bit in group g; two groups are used at a time.
      FourWords fifth = LoadWords(rows, 16 + 16 * half);
      for (size_t pair = 0; pair < 4; ++pair) {
        const FourWords qs = LoadWords(rows, 48 + 32 * pair + 16 * half);
        const size_t start = 64 * pair + 16 * half;
        for (size_t j = 0; j < 4; ++j) {
          const V32 low = hn::And(hn::ShiftLeft<4>(fifth.w[j]), sixteen);
          const V32 high = hn::And(hn::ShiftLeft<3>(fifth.w[j]), sixteen);
          out.Codes(start + 4 * j, hn::Xor(hn::Or(LowNibbles(qs.w[j]), low), bias));
          out.Codes(start + 32 + 4 * j, hn::Xor(hn::Or(HighNibbles(qs.w[j]), high), bias));
          fifth.w[j] = hn::ShiftRight<2>(fifth.w[j]);
        }
      }
    }
  }
};

template <>
struct Unpacker<gguf::Format::Q6_K> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const V32 offset = SplatByte(kPanelBias - 32);
    const V32 upper = SplatByte(0x30);
    for (size_t part = 0; part < 4; ++part) {
      const size_t n = part / 2, half = part % 2;
      const FourWords a = LoadWords(rows, 64 * n + 16 * half);
      const FourWords b = LoadWords(rows, 64 * n + 32 + 16 * half);
      const FourWords high = LoadWords(rows, 128 + 32 * n + 16 * half);
      for (size_t j = 0; j < 4; ++j) {
        const size_t k = 128 * n + 16 * half + 4 * j;
        const V32 h = high.w[j];
        const V32 h0 = hn::And(hn::ShiftLeft<4>(h), upper);
        const V32 h1 = hn::And(hn::ShiftLeft<2>(h), upper);
        const V32 h2 = hn::And(h, upper);
        const V32 h3 = hn::And(hn::ShiftRight<2>(h), upper);
        out.Codes(k, hn::Add(hn::Or(LowNibbles(a.w[j]), h0), offset));
        out.Codes(k + 32, hn::Add(hn::Or(LowNibbles(b.w[j]), h1), offset));
        out.Codes(k + 64, hn::Add(hn::Or(HighNibbles(a.w[j]), h2), offset));
        out.Codes(k + 96, hn::Add(hn::Or(HighNibbles(b.w[j]), h3), offset));
      }
    }
    const VF d = UpperHalfToFloat(LoadWords(rows, 194).w[3]);
    const FourWords scales = LoadWords(rows, 192);
    for (size_t j = 0; j < 4; ++j) StoreSignedScales(d, scales.w[j], 4 * j, out);
  }
};

template <>
struct Unpacker<gguf::Format::IQ4_XS> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const V32 table = LoadTable(kNl4Codes.data());
    for (size_t g = 0; g < 8; ++g) {
      const FourWords qs = LoadWords(rows, 8 + 16 * g);
      for (size_t j = 0; j < 4; ++j) {
        out.Codes(32 * g + 4 * j, Lookup(table, LowNibbles(qs.w[j])));
        out.Codes(32 * g + 16 + 4 * j, Lookup(table, HighNibbles(qs.w[j])));
      }
    }
    const FourWords head = LoadWords(rows, 0);
    const VF d = HalfToFloat(head.w[0]);
    V32 high = hn::ShiftRight<16>(head.w[0]);
    V32 low = head.w[1];
    for (size_t g = 0; g < 8; ++g, low = hn::ShiftRight<4>(low), high = hn::ShiftRight<2>(high)) {
      const V32 upper = hn::ShiftLeft<4>(hn::And(high, Splat(3)));
      const VF scale = ToFloat(hn::Or(hn::And(low, Splat(15)), upper));
      out.Scale(g, hn::Mul(d, hn::Sub(scale, hn::Set(DF(), 32.0f))));
    }
  }
};

template <>
struct Unpacker<gguf::Format::TQ2_0> {
  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const V32 offset = SplatByte(kPanelBias - 1);
    for (size_t chunk = 0; chunk < 4; ++chunk) {
      const FourWords qs = LoadWords(rows, 16 * chunk);
      const size_t start = 128 * (chunk / 2) + 16 * (chunk % 2);
      for (size_t j = 0; j < 4; ++j) {
        const size_t k = start + 4 * j;
        out.Codes(k, hn::Add(TwoBits<0>(qs.w[j]), offset));
        out.Codes(k + 32, hn::Add(TwoBits<1>(qs.w[j]), offset));
        out.Codes(k + 64, hn::Add(TwoBits<2>(qs.w[j]), offset));
        out.Codes(k + 96, hn::Add(TwoBits<3>(qs.w[j]), offset));
      }
    }
    const VF d = UpperHalfToFloat(LoadWords(rows, 50).w[3]);
    for (size_t g = 0; g < 8; ++g) out.Scale(g, d);
  }
};

template <>
struct Unpacker<gguf::Format::TQ1_0> {
  // `digits` base-3 digits of four bytes; digit n is stored at value k + n * step. A byte is a
  // fraction of 256: times 3, the integer part is the next digit and the rest the next fraction.
  static HWY_INLINE void Digits(V32 bytes, size_t digits, size_t k, size_t step,
                                const Columns& out) {
    const V32 fractions = Splat(0x00FF00FF);
    V32 even = hn::And(bytes, fractions);
    V32 odd = hn::And(hn::ShiftRight<8>(bytes), fractions);
    for (size_t n = 0; n < digits; ++n) {
      const V32 even3 = hn::Add(even, hn::Add(even, even));
      const V32 odd3 = hn::Add(odd, hn::Add(odd, odd));
      const V32 codes = hn::Or(hn::And(hn::ShiftRight<8>(even3), Splat(0x00030003)),
                               hn::And(odd3, Splat(0x03000300)));
      out.Codes(k + n * step, hn::Add(codes, SplatByte(kPanelBias - 1)));
      even = hn::And(even3, fractions);
      odd = hn::And(odd3, fractions);
    }
  }

  static HWY_INLINE void Block(const RowBlocks& rows, const Columns& out) {
    const FourWords first = LoadWords(rows, 0);
    const FourWords second = LoadWords(rows, 16);
    const FourWords third = LoadWords(rows, 32);
    for (size_t j = 0; j < 4; ++j) {
      Digits(first.w[j], 5, 4 * j, 32, out);
      Digits(second.w[j], 5, 16 + 4 * j, 32, out);
      Digits(third.w[j], 5, 160 + 4 * j, 16, out);
    }
    const FourWords tail = LoadWords(rows, 38);  // ends with four bytes of four digits, then d
    Digits(hn::Or(hn::ShiftRight<16>(tail.w[2]), hn::ShiftLeft<16>(tail.w[3])), 4, 240, 4, out);
    const VF d = UpperHalfToFloat(tail.w[3]);
    for (size_t g = 0; g < 8; ++g) out.Scale(g, d);
  }
};

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
#endif

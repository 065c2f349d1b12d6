// What the SIMD unpackers share: the blocks of 4, 8 or 16 rows as vectors whose 32-bit lanes are
// rows. A lane holds four bytes of its row; bits are then moved within lanes only, the same way at
// every vector width.
#if defined(QUERN_UNPACK_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_UNPACK_LANES_INL_H_
#undef QUERN_UNPACK_LANES_INL_H_
#else
#define QUERN_UNPACK_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include "kernels/cpu/panel.h"

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// Specialized for every format that has a SIMD unpacker: `static void Block(const RowBlocks&, const
// Columns&)` unpacks one block of Lanes(D32()) rows. Without one, the scalar reference is used.
template <gguf::Format>
struct Unpacker;

#if HWY_TARGET != HWY_SCALAR
namespace hn = hwy::HWY_NAMESPACE;

using D32 = hn::CappedTag<uint32_t, kPanelRows>;
using V32 = hn::Vec<D32>;
using DF = hn::CappedTag<float, kPanelRows>;
using VF = hn::Vec<DF>;

HWY_INLINE V32 Splat(uint32_t word) { return hn::Set(D32(), word); }
// The same byte in all four places of every lane.
HWY_INLINE V32 SplatByte(uint32_t byte) { return Splat(byte * 0x01010101u); }

// The same block of Lanes(D32()) consecutive rows.
struct RowBlocks {
  const uint8_t* first;
  size_t stride;
};

// 16 bytes from each of Lanes(d) / 4 rows that lie `stride` bytes apart.
template <class D>
HWY_INLINE hn::Vec<D> LoadChunks(D d, const uint8_t* chunk, size_t stride) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return hn::BitCast(d, hn::LoadU(hn::Repartition<uint8_t, D>(), chunk));
  } else {
    const hn::Half<D> half;
    return hn::Combine(d, LoadChunks(half, chunk + hn::MaxLanes(half) / 4 * stride, stride),
                       LoadChunks(half, chunk, stride));
  }
}

// 16 bytes of every row: lane r of w[j] holds bytes 4j … 4j + 3 of row r.
struct FourWords {
  V32 w[4];
};

// Bytes offset … offset + 15 of every row's block, transposed 4 rows by 4 words at a time.
HWY_INLINE FourWords LoadWords(const RowBlocks& rows, size_t offset) {
  const D32 d;
  const hn::Repartition<uint64_t, D32> d64;
  const uint8_t* chunk = rows.first + offset;
  const size_t four = 4 * rows.stride;
  const auto r0 = LoadChunks(d, chunk, four);
  const auto r1 = LoadChunks(d, chunk + rows.stride, four);
  const auto r2 = LoadChunks(d, chunk + 2 * rows.stride, four);
  const auto r3 = LoadChunks(d, chunk + 3 * rows.stride, four);
  const auto low01 = hn::BitCast(d64, hn::InterleaveLower(d, r0, r1));
  const auto low23 = hn::BitCast(d64, hn::InterleaveLower(d, r2, r3));
  const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(d, r0, r1));
  const auto high23 = hn::BitCast(d64, hn::InterleaveUpper(d, r2, r3));
  return {{hn::BitCast(d, hn::InterleaveLower(d64, low01, low23)),
           hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23)),
           hn::BitCast(d, hn::InterleaveLower(d64, high01, high23)),
           hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23))}};
}

// Where the unpacked block goes: the lanes of its rows in a panel, from the block's first value on.
struct Columns {
  uint8_t* codes_at;
  float* scale_at;
  float* min_at;

  // Values k … k + 3 of the block.
  HWY_INLINE void Codes(size_t k, V32 biased) const {
    const D32 d;
    hn::Store(biased, d, reinterpret_cast<uint32_t*>(codes_at + k * kPanelRows));
  }
  HWY_INLINE void Scale(size_t group, VF scale) const {
    hn::Store(scale, DF(), scale_at + group * kPanelRows);
  }
  HWY_INLINE void Min(size_t group, VF min) const {
    hn::Store(min, DF(), min_at + group * kPanelRows);
  }
};

// Fields of words.
HWY_INLINE V32 LowNibbles(V32 w) { return hn::And(w, SplatByte(0x0F)); }
HWY_INLINE V32 HighNibbles(V32 w) { return hn::And(hn::ShiftRight<4>(w), SplatByte(0x0F)); }

template <int kIndex>
HWY_INLINE V32 Byte(V32 w) {
  if constexpr (kIndex == 3) return hn::ShiftRight<24>(w);
  return hn::And(hn::ShiftRight<8 * kIndex>(w), Splat(0xFF));
}

// Byte kIndex of each lane, sign extended.
template <int kIndex>
HWY_INLINE hn::Vec<hn::RebindToSigned<D32>> SignedByte(V32 w) {
  const hn::RebindToSigned<D32> d;
  return hn::ShiftRight<24>(hn::BitCast(d, hn::ShiftLeft<24 - 8 * kIndex>(w)));
}

// Small unsigned integers (below 2^31) as numbers.
HWY_INLINE VF ToFloat(V32 w) {
  return hn::ConvertTo(DF(), hn::BitCast(hn::RebindToSigned<D32>(), w));
}

// The lower 16 bits as binary16.
HWY_INLINE VF HalfToFloat(V32 w) {
  const hn::Rebind<uint16_t, D32> d16;
  const hn::Rebind<hwy::float16_t, D32> df16;
  return hn::PromoteTo(DF(), hn::BitCast(df16, hn::TruncateTo(d16, w)));
}
HWY_INLINE VF UpperHalfToFloat(V32 w) { return HalfToFloat(hn::ShiftRight<16>(w)); }

// Bits 0 … 3 to the lowest bits of bytes 0 … 3.
HWY_INLINE V32 SpreadBits(V32 nibble) {
  const V32 pairs = hn::Or(nibble, hn::ShiftLeft<7>(nibble));
  return hn::And(hn::Or(pairs, hn::ShiftLeft<14>(pairs)), SplatByte(1));
}
// The four two-bit fields of a byte to bytes 0 … 3.
HWY_INLINE V32 SpreadPairs(V32 byte) {
  const V32 pairs = hn::Or(byte, hn::ShiftLeft<6>(byte));
  return hn::And(hn::Or(pairs, hn::ShiftLeft<12>(pairs)), SplatByte(3));
}

// A table of 16 codes, biased, for Lookup.
HWY_INLINE V32 LoadTable(const int8_t* codes) {
  const hn::Repartition<uint8_t, D32> d8;
  const auto table = hn::LoadDup128(d8, reinterpret_cast<const uint8_t*>(codes));
  return hn::Xor(hn::BitCast(D32(), table), SplatByte(kPanelBias));
}
HWY_INLINE V32 Lookup(V32 table, V32 indices) {
  const hn::Repartition<uint8_t, D32> d8;
  return hn::BitCast(D32(), hn::TableLookupBytes(hn::BitCast(d8, table), hn::BitCast(d8, indices)));
}

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

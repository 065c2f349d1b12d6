// What the formats share. An Unpacker reads a block of 4, 8 or 16 rows as vectors whose 32-bit
// lanes are rows: a lane holds four bytes of its row, and bits are moved within lanes only, the
// same way at every vector width. Where the bytes come from (mapped or packed rows) and where codes
// and scales go (a panel, or straight into dot products) are its template parameters.
#if defined(QUERN_UNPACKER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_UNPACKER_INL_H_
#undef QUERN_UNPACKER_INL_H_
#else
#define QUERN_UNPACKER_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <array>
#include <cstring>
#include <type_traits>

#include "kernels/cpu/format_kernels.h"
#include "kernels/cpu/formats/block_dots-inl.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/packed.h"

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// Specialized by every format: `template <class From, class To> static void Block(const From& rows,
// To& out)` unpacks one block of Lanes(D32()) rows.
template <gguf::Format>
struct Unpacker;

#if HWY_TARGET != HWY_SCALAR

HWY_INLINE V32 Splat(uint32_t word) { return hn::Set(D32(), word); }
// The same byte in all four places of every lane.
HWY_INLINE V32 SplatByte(uint32_t byte) { return Splat(byte * 0x01010101u); }

// A piece of a block: `bytes` bytes from byte `offset` on.
struct Segment {
  size_t offset, bytes;
};

// The packed order of a block's bytes: that in which Unpacker<F>::Block reads them, so that a tile
// is one ascending stream, given by Unpacker<F>::kOrder where it differs from the file's. A segment
// of less than a word (a scale) comes after the words of all blocks of a run.
template <gguf::Format F>
struct PackedOrder {
  static constexpr size_t kBytes = gguf::Traits<F>::kBytes, kRun = packed_run(F);

  static constexpr auto segments() {
    if constexpr (requires { Unpacker<F>::kOrder; }) {
      return Unpacker<F>::kOrder;
    } else {
      return std::array{Segment{0, kBytes}};
    }
  }
  static constexpr size_t word_bytes() {  // of one block, without what is less than a word
    size_t bytes = 0;
    for (const Segment& segment : segments()) bytes += segment.bytes / 4 * 4;
    return bytes;
  }
  static constexpr size_t all_bytes() {
    size_t bytes = 0;
    for (const Segment& segment : segments()) bytes += segment.bytes;
    return bytes;
  }
  static_assert(all_bytes() == kBytes, "kOrder must name every byte of the block once");

  // Where byte `offset` of block `block` of a run lies in the packed run.
  static constexpr size_t position(size_t block, size_t offset) {
    return kPositions[block][offset];
  }

 private:
  static constexpr auto kPositions = [] {
    std::array<std::array<uint16_t, kBytes>, kRun> positions{};
    for (size_t block = 0; block < kRun; ++block) {
      size_t next = block * word_bytes();
      for (const Segment& segment : segments()) {
        const bool field = segment.bytes < 4;
        const size_t at = field ? kRun * word_bytes() + block * segment.bytes : next;
        for (size_t i = 0; i < segment.bytes; ++i) {
          positions[block][segment.offset + i] = static_cast<uint16_t>(at + i);
        }
        if (!field) next += segment.bytes;
      }
    }
    return positions;
  }();
};

// The same block of Lanes(D32()) rows, as the file has them.
template <gguf::Format F>
struct MappedRows {
  const uint8_t* first;
  size_t stride;
};

// The same, packed: line w of a run holds the bytes at positions 4w … 4w + 3, of every row. kBlock:
// which block of the run.
template <gguf::Format F, size_t kBlock>
struct PackedRows {
  const uint32_t* lines;
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

// 16 bytes of rows that lie `stride` bytes apart, transposed 4 rows by 4 words at a time.
HWY_INLINE FourWords TransposeWords(const uint8_t* chunk, size_t stride) {
  const D32 d;
  const hn::Repartition<uint64_t, D32> d64;
  const size_t four = 4 * stride;
  const auto r0 = LoadChunks(d, chunk, four);
  const auto r1 = LoadChunks(d, chunk + stride, four);
  const auto r2 = LoadChunks(d, chunk + 2 * stride, four);
  const auto r3 = LoadChunks(d, chunk + 3 * stride, four);
  const auto low01 = hn::BitCast(d64, hn::InterleaveLower(d, r0, r1));
  const auto low23 = hn::BitCast(d64, hn::InterleaveLower(d, r2, r3));
  const auto high01 = hn::BitCast(d64, hn::InterleaveUpper(d, r0, r1));
  const auto high23 = hn::BitCast(d64, hn::InterleaveUpper(d, r2, r3));
  return {{hn::BitCast(d, hn::InterleaveLower(d64, low01, low23)),
           hn::BitCast(d, hn::InterleaveUpper(d64, low01, low23)),
           hn::BitCast(d, hn::InterleaveLower(d64, high01, high23)),
           hn::BitCast(d, hn::InterleaveUpper(d64, high01, high23))}};
}

// How far ahead of their use lines are asked for: a few thousand bytes, of the order of what a core
// has under way.
constexpr size_t kPrefetchLines = 72;

// Asks for `count` lines, kPrefetchLines ahead. By one instruction in a loop, which the compiler
// can neither unroll nor mix with what follows: the processor seems to take requests from one
// address of code for one stream, and those of an unrolled block for many, which slowed the reads
// of two cores by up to a fifth (docs/performance.md).
HWY_INLINE void RequestLines(const uint32_t* lines, size_t count) {
#if HWY_ARCH_X86
  asm volatile("" : "+r"(count));
#endif
  for (size_t i = 0; i < count; ++i) hwy::Prefetch(lines + (i + kPrefetchLines) * kPanelRows);
}

// Lines of a request: those of a block, or Unpacker<F>::kRequestLines where another number measured
// better.
template <gguf::Format F>
constexpr size_t request_lines() {
  if constexpr (requires { Unpacker<F>::kRequestLines; }) return Unpacker<F>::kRequestLines;
  return gguf::Traits<F>::kBytes / 4;
}

// Bytes offset … offset + 15 of every row's block. `offset` is a constant wherever this is inlined.
template <gguf::Format F>
HWY_INLINE FourWords LoadWords(const MappedRows<F>& rows, size_t offset) {
  return TransposeWords(rows.first + offset, rows.stride);
}
template <gguf::Format F, size_t kBlock>
HWY_INLINE FourWords LoadWords(const PackedRows<F, kBlock>& rows, size_t offset) {
  // A run's requests are spread over it: each is made with the words that are its first lines.
  constexpr size_t kLines = packed_run(F) * gguf::Traits<F>::kBytes / 4;
  constexpr size_t kRequests = kLines / request_lines<F>();
  const size_t first = PackedOrder<F>::position(kBlock, offset) / 4;
  Unroll<kRequests>([&](auto i) QUERN_INLINE_LAMBDA {
    constexpr size_t kBegin = kLines * i / kRequests, kEnd = kLines * (i + 1) / kRequests;
    if (first > kBegin || kBegin >= first + 4) return;
    RequestLines(rows.lines + kBegin * kPanelRows, kEnd - kBegin);
  });
  FourWords words;
  Unroll<4>([&](auto j) QUERN_INLINE_LAMBDA {
    const size_t line = PackedOrder<F>::position(kBlock, offset + 4 * j) / 4;
    words.w[j] = hn::Load(D32(), rows.lines + line * kPanelRows);
  });
  return words;
}

// A field of less than a word at byte `offset`, in the lowest bits; what is above it is undefined.
template <gguf::Format F>
HWY_INLINE V32 LoadField(const MappedRows<F>& rows, size_t offset) {
  constexpr size_t kBytes = gguf::Traits<F>::kBytes;
  if (offset + 16 <= kBytes) return LoadWords(rows, offset).w[0];
  return hn::ShiftRight<16>(LoadWords(rows, kBytes - 16).w[3]);  // the last two bytes of the block
}
template <gguf::Format F, size_t kBlock>
HWY_INLINE V32 LoadField(const PackedRows<F, kBlock>& rows, size_t offset) {
  const size_t position = PackedOrder<F>::position(kBlock, offset);
  const V32 word = hn::Load(D32(), rows.lines + position / 4 * kPanelRows);
  switch (position % 4) {
    case 0:
      return word;
    case 1:
      return hn::ShiftRight<8>(word);
    case 2:
      return hn::ShiftRight<16>(word);
    default:
      return hn::ShiftRight<24>(word);
  }
}

// Writes an unpacked block into the lanes of its rows in a panel, from the block's first value on.
struct PanelColumns {
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
  // Formats that scale codes (panel.h) give scales and minimums as multiples of the block's.
  HWY_INLINE void ScaleCode(size_t group, VF d, VI code) const {
    Scale(group, hn::Mul(d, hn::ConvertTo(DF(), code)));
  }
  // The minimums of groups 2 * pair and 2 * pair + 1, small unsigned integers in the lower and the
  // upper halves of the lanes.
  HWY_INLINE void MinPair(size_t pair, VF dmin, VI codes) const {
    const VI low = hn::And(codes, hn::Set(DI(), 0xFFFF));
    Min(2 * pair, hn::Mul(dmin, hn::ConvertTo(DF(), low)));
    Min(2 * pair + 1, hn::Mul(dmin, hn::ConvertTo(DF(), hn::ShiftRight<16>(codes))));
  }
};

// The same for products, for the only block that a panel has: minimums stay integers.
class ProductColumns : public PanelColumns {
 public:
  HWY_INLINE ProductColumns(Panel& panel, size_t row)
      : PanelColumns{&panel.codes[0][row][0], &panel.scale[0][row], &panel.min[0][row]},
        min_codes_(panel.min_codes[0][row]) {}

  HWY_INLINE void MinPair(size_t pair, VF dmin, VI codes) const {
    Min(0, dmin);
    hn::Store(codes, DI(), reinterpret_cast<int32_t*>(min_codes_ + pair * 2 * kPanelRows));
  }
  HWY_INLINE void Finish() const {}

 private:
  int16_t* min_codes_;
};

// Int16 pairs (even, odd) of two vectors of small integers.
HWY_INLINE VI Pairs(VI even, VI odd) {
  return hn::Or(hn::And(even, hn::Set(DI(), 0xFFFF)), hn::ShiftLeft<16>(odd));
}

// The same as a scaled panel.
template <gguf::Format F>
class ScaledColumns : public ProductColumns {
 public:
  HWY_INLINE ScaledColumns(Panel& panel, size_t row)
      : ProductColumns(panel, row), panel_(panel), row_(row) {}

  HWY_INLINE void ScaleCode(size_t group, VF d, VI code) {
    Scale(0, d);
    scales_[group] = code;
  }

  // Multiplies all codes with their scales, once the block has been unpacked.
  HWY_INLINE void Finish() {
    for (size_t g = 0; g < kGroups; ++g) {  // not unrolled: compilers take minutes for that
      const auto factors = hn::BitCast(D16(), Pairs(scales_[g], scales_[g]));
      // Modulo 256 in every byte, as are the products.
      const auto offset = hn::Set(D8(), scaled_bias(F));
      const auto removed = hn::Mul(factors, hn::Set(D16(), code_bias(F)));
      for (size_t k = g * kGroup; k < (g + 1) * kGroup; k += 4) {
        const auto codes = hn::BitCast(D16(), hn::Load(D32(), At(k)));
        const auto even = hn::Sub(hn::Mul(hn::And(codes, hn::Set(D16(), 0xFF)), factors), removed);
        const auto odd = hn::Sub(hn::Mul(hn::ShiftRight<8>(codes), factors), removed);
        const auto both = hn::Or(hn::And(even, hn::Set(D16(), 0xFF)), hn::ShiftLeft<8>(odd));
        hn::Store(hn::BitCast(D32(), hn::Add(hn::BitCast(D8(), both), offset)), D32(), At(k));
      }
    }
  }

 private:
  using D8 = hn::Repartition<uint8_t, D32>;
  using D16 = hn::Repartition<uint16_t, D32>;
  static constexpr size_t kGroup = gguf::Traits<F>::kScaleGroup;
  static constexpr size_t kGroups = gguf::Traits<F>::kValues / kGroup;
  static_assert(gguf::Traits<F>::kValues == kPanelValues && kGroup == kSumGroup);

  HWY_INLINE uint32_t* At(size_t k) const {
    return reinterpret_cast<uint32_t*>(panel_.codes[k / 4][row_]);
  }

  Panel& panel_;
  size_t row_;
  VI scales_[kGroups];
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
HWY_INLINE V32 LoadTable(const int8_t* codes, uint8_t bias) {
  const hn::Repartition<uint8_t, D32> d8;
  const auto table = hn::LoadDup128(d8, reinterpret_cast<const uint8_t*>(codes));
  return hn::BitCast(D32(), hn::Add(table, hn::Set(d8, bias)));
}
HWY_INLINE V32 Lookup(V32 table, V32 indices) {
  const hn::Repartition<uint8_t, D32> d8;
  return hn::BitCast(D32(), hn::TableLookupBytes(hn::BitCast(d8, table), hn::BitCast(d8, indices)));
}

// Calls use(rows, i) for block first + i of the vector of rows from `row` on, i < count.
template <gguf::Format F, class Use>
HWY_INLINE void EachBlock(const WeightTile& tile, size_t first, size_t count, size_t row,
                          const Use& use) {
  constexpr size_t kBytes = gguf::Traits<F>::kBytes, kRun = packed_run(F);
  if (tile.stride != WeightTile::kPacked) {
    const auto* blocks = reinterpret_cast<const uint8_t*>(tile.bytes) + row * tile.stride;
    // The next tile, which usually follows, in the order of its bytes.
    const std::byte* next = tile.bytes + kPanelRows * (tile.stride + first * kBytes);
    for (size_t i = 0; i < count; ++i, next += kPanelRows * kBytes) {
      for (size_t line = 0; line < kPanelRows * kBytes; line += 64) hwy::Prefetch(next + line);
      use(MappedRows<F>{blocks + (first + i) * kBytes, tile.stride}, i);
    }
    return;
  }
  const auto* lines = reinterpret_cast<const uint32_t*>(tile.bytes) + row;
  for (size_t run = first / kRun * kRun; run < first + count; run += kRun) {
    const uint32_t* start = lines + run * kBytes / 4 * kPanelRows;
    Unroll<kRun>([&](auto b) QUERN_INLINE_LAMBDA {
      if (run + b < first || run + b >= first + count) return;
      use(PackedRows<F, b>{start}, run + b - first);
    });
  }
}

// FormatKernels::pack.
template <gguf::Format F>
HWY_INLINE void PackTile(const std::byte* rows_start, size_t rows, size_t row_bytes,
                         std::byte* tile) {
  constexpr size_t kBytes = gguf::Traits<F>::kBytes, kRun = packed_run(F);
  constexpr size_t kRunBytes = kRun * kBytes, kStride = (kRunBytes + 15) / 16 * 16;
  alignas(64) uint8_t ordered[kPanelRows][kStride] = {};
  auto* lines = reinterpret_cast<uint32_t*>(tile);
  for (size_t start = 0; start < row_bytes;
       start += kRunBytes, lines += kRunBytes / 4 * kPanelRows) {
    for (size_t row = 0; row < rows; ++row) {
      for (size_t b = 0; b < kRun && start + b * kBytes < row_bytes; ++b) {
        const std::byte* block = rows_start + row * row_bytes + start + b * kBytes;
        for (const Segment& segment : PackedOrder<F>::segments()) {
          std::memcpy(&ordered[row][PackedOrder<F>::position(b, segment.offset)],
                      block + segment.offset, segment.bytes);
        }
      }
    }
    for (size_t row = 0; row < kPanelRows; row += hn::MaxLanes(D32())) {
      for (size_t word = 0; word < kRunBytes / 4; word += 4) {
        const FourWords words = TransposeWords(&ordered[row][4 * word], kStride);
        for (size_t j = 0; j < 4 && word + j < kRunBytes / 4; ++j) {
          hn::Stream(words.w[j], D32(), lines + (word + j) * kPanelRows + row);
        }
      }
    }
  }
}

// FormatKernels::unpack_row.
template <gguf::Format F>
HWY_INLINE void UnpackRow(const std::byte* tile, size_t row, size_t row_bytes, std::byte* out) {
  constexpr size_t kBytes = gguf::Traits<F>::kBytes, kRun = packed_run(F);
  std::byte ordered[kRun * kBytes];
  for (size_t start = 0; start < row_bytes; start += sizeof ordered) {
    const std::byte* words = tile + start * kPanelRows + 4 * row;
    for (size_t at = 0; at < sizeof ordered; at += 4) {
      std::memcpy(ordered + at, words + at * kPanelRows, 4);
    }
    for (size_t b = 0; b < kRun && start + b * kBytes < row_bytes; ++b) {
      for (const Segment& segment : PackedOrder<F>::segments()) {
        std::memcpy(out + start + b * kBytes + segment.offset,
                    ordered + PackedOrder<F>::position(b, segment.offset), segment.bytes);
      }
    }
  }
}

// FormatKernels::unpack_product.
template <gguf::Format F>
void UnpackProductTile(const WeightTile& tile, size_t k, Panel& panel) {
  using Columns = std::conditional_t<scales_codes(F), ScaledColumns<F>, ProductColumns>;
  for (size_t row = 0; row < kPanelRows; row += hn::MaxLanes(D32())) {
    EachBlock<F>(tile, k / kPanelValues, 1, row, [&](const auto& rows, size_t) QUERN_INLINE_LAMBDA {
      Columns columns(panel, row);
      Unpacker<F>::Block(rows, columns);
      columns.Finish();
    });
  }
}

template <gguf::Format F>
constexpr decltype(FormatKernels::unpack_product) ProductKernel() {
  if constexpr (scales_codes(F) || codes_minimums(F)) return UnpackProductTile<F>;
  return nullptr;
}

// FormatKernels::unpack.
template <gguf::Format F>
HWY_INLINE void UnpackTile(const WeightTile& tile, size_t k, size_t values, Panel& panel) {
  constexpr size_t kValues = gguf::Traits<F>::kValues, kGroup = gguf::Traits<F>::kScaleGroup;
  for (size_t row = 0; row < kPanelRows; row += hn::MaxLanes(D32())) {
    EachBlock<F>(tile, k / kValues, values / kValues, row,
                 [&](const auto& rows, size_t i) QUERN_INLINE_LAMBDA {
                   const size_t at = i * kValues;
                   PanelColumns columns{&panel.codes[at / 4][row][0],
                                        &panel.scale[at / kGroup][row],
                                        &panel.min[at / kGroup][row]};
                   Unpacker<F>::Block(rows, columns);
                 });
  }
}

// FormatKernels::gemv.
template <gguf::Format F, size_t kTokens>
void MultiplyTile(const WeightTile& tile, const std::byte* x, size_t values, float* out) {
  constexpr size_t kValues = gguf::Traits<F>::kValues;
  constexpr size_t kActivationBytes =
      kValues / kActivationGroup * kTokens * ActivationGroup::kBytesPerToken;
  constexpr size_t kUnitBlocks = kUnitValues / kValues;
  const size_t blocks = values / kValues;
  for (size_t row = 0; row < kPanelRows; row += hn::MaxLanes(D32())) {
    Chains chains[kTokens];
    EachBlock<F>(tile, 0, blocks, row, [&](const auto& rows, size_t i) QUERN_INLINE_LAMBDA {
      BlockDots<F, kTokens> dots(x + i * kActivationBytes);
      Unpacker<F>::Block(rows, dots);
      dots.AddTo(chains);
      if ((i + 1) % kUnitBlocks == 0 || i + 1 == blocks) dots.EndUnit(chains);
    });
    for (size_t t = 0; t < kTokens; ++t) hn::StoreU(chains[t].acc, DF(), out + t * kRowTile + row);
  }
}

#endif  // HWY_TARGET != HWY_SCALAR
}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

// At the end of a format's file: its kernels for the current instruction set, and once for all of
// them its entry in format_kernels(). The scalar target has none.
#undef QUERN_FORMAT_KERNELS
#undef QUERN_FORMAT_KERNELS_OF_TARGET
#undef QUERN_FORMAT_ENTRY
#if HWY_TARGET == HWY_SCALAR
#define QUERN_FORMAT_KERNELS_OF_TARGET(name) \
  FormatKernels Kernels##name() { return {}; }
#else
#define QUERN_FORMAT_KERNELS_OF_TARGET(name)                                                     \
  void Unpack##name(const WeightTile& tile, size_t k, size_t values, Panel& panel) {             \
    UnpackTile<gguf::Format::name>(tile, k, values, panel);                                      \
  }                                                                                              \
  void Pack##name(const std::byte* rows_start, size_t rows, size_t row_bytes, std::byte* tile) { \
    PackTile<gguf::Format::name>(rows_start, rows, row_bytes, tile);                             \
  }                                                                                              \
  void UnpackRow##name(const std::byte* tile, size_t row, size_t row_bytes, std::byte* out) {    \
    UnpackRow<gguf::Format::name>(tile, row, row_bytes, out);                                    \
  }                                                                                              \
  void Gemv##name(const WeightTile& tile, const std::byte* x, size_t tokens, size_t values,      \
                  float* out) {                                                                  \
    if (tokens == 1) return MultiplyTile<gguf::Format::name, 1>(tile, x, values, out);           \
    MultiplyTile<gguf::Format::name, 2>(tile, x, values, out);                                   \
  }                                                                                              \
  FormatKernels Kernels##name() {                                                                \
    return {Unpack##name, ProductKernel<gguf::Format::name>(), Gemv##name, Pack##name,           \
            UnpackRow##name};                                                                    \
  }
#endif
#if HWY_ONCE
#define QUERN_FORMAT_ENTRY(name)                                                   \
  namespace quern::kernels::cpu {                                                  \
  HWY_EXPORT(Kernels##name);                                                       \
  FormatKernels kernels_##name() { return HWY_DYNAMIC_DISPATCH(Kernels##name)(); } \
  }
#else
#define QUERN_FORMAT_ENTRY(name)
#endif
#define QUERN_FORMAT_KERNELS(name)               \
  HWY_BEFORE_NAMESPACE();                        \
  namespace quern::kernels::cpu::HWY_NAMESPACE { \
  QUERN_FORMAT_KERNELS_OF_TARGET(name)           \
  }                                              \
  HWY_AFTER_NAMESPACE();                         \
  QUERN_FORMAT_ENTRY(name)
#endif

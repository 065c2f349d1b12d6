// Products of the float formats. Lane = weight row: a packed line of 64 bytes holds one 32-bit word
// of 16 rows, that is one F32 value of each, or two neighbouring values of 16 bits. Every output is
// one chain in the order of reference::dot_float.
#if defined(QUERN_FLOATS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef QUERN_FLOATS_INL_H_
#undef QUERN_FLOATS_INL_H_
#else
#define QUERN_FLOATS_INL_H_
#endif

#include <algorithm>

#include "kernels/cpu/formats/unpacker-inl.h"
#include "kernels/cpu/matmul.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

constexpr size_t kFloatLanes = hn::MaxLanes(DF());
// Vectors of rows that share an activation once it is loaded: as many as registers allow.
constexpr size_t kFloatVectors = kFloatLanes == 16 ? 2 : 1;

// How the words of a line are multiplied. kValues: values of a row in a word; Input: what
// activations are made of; Multiply appends the word's products to the chains of its rows.
struct F32Line {
  static constexpr size_t kValues = 1;
  using Input = float;
  using Weights = VF;
  using Inputs = VF;

  static HWY_INLINE Weights Load(const uint32_t* line) {
    return hn::Load(DF(), reinterpret_cast<const float*>(line));
  }
  static HWY_INLINE Inputs Broadcast(const Input* x) { return hn::Set(DF(), *x); }
  static HWY_INLINE VF Multiply(Weights w, Inputs x, VF sum) { return hn::MulAdd(w, x, sum); }
};

struct F16Line {
  static constexpr size_t kValues = 2;
  using Input = float;
  struct Weights {
    VF first, second;
  };
  using Inputs = Weights;

  static HWY_INLINE Weights Load(const uint32_t* line) {
    const V32 words = hn::Load(D32(), line);
    return {HalfToFloat(words), UpperHalfToFloat(words)};
  }
  static HWY_INLINE Inputs Broadcast(const Input* x) {
    return {hn::Set(DF(), x[0]), hn::Set(DF(), x[1])};
  }
  static HWY_INLINE VF Multiply(const Weights& w, const Inputs& x, VF sum) {
    return hn::MulAdd(w.second, x.second, hn::MulAdd(w.first, x.first, sum));
  }
};

// acc[t][row …] += the products of `count` lines of kVectors vectors of rows with kTokens tokens,
// summed from zero. x: [kTokens][stride].
template <class Line, size_t kVectors, size_t kTokens>
HWY_INLINE void AddLines(const uint32_t* (&lines)[kVectors], size_t count,
                         const typename Line::Input* x, size_t stride, float* acc) {
  const DF d;
  VF sums[kVectors][kTokens];
  const typename Line::Input* inputs[kTokens];
  Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
    inputs[t] = x + t * stride;
    Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA { sums[v][t] = hn::Zero(d); });
  });
  constexpr size_t kInputLine = 64 / (Line::kValues * sizeof(typename Line::Input));
  for (size_t i = 0; i < count; ++i) {
    if (kTokens > 1 && i % kInputLine == 0) {  // ask for the next tokens' in time
      Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
        hwy::Prefetch(inputs[t] + kTokens * stride + i * Line::kValues);
      });
    }
    typename Line::Weights w[kVectors];
    Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA {
      w[v] = Line::Load(lines[v] + i * kPanelRows);
      if constexpr (kTokens == 1) hwy::Prefetch(lines[v] + (i + kPrefetchLines) * kPanelRows);
    });
    Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
      const auto input = Line::Broadcast(inputs[t] + i * Line::kValues);
      Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA {
        sums[v][t] = Line::Multiply(w[v], input, sums[v][t]);
      });
    });
  }
  Unroll<kTokens>([&](auto t) QUERN_INLINE_LAMBDA {
    Unroll<kVectors>([&](auto v) QUERN_INLINE_LAMBDA {
      float* at = acc + t * kRowTile + v * kFloatLanes;
      hn::Store(hn::Add(hn::Load(d, at), sums[v][t]), d, at);
    });
  });
}

// The same for any number of lines: a chain for every kFloatChain values.
template <class Line, size_t kVectors, size_t kTokens>
HWY_INLINE void AddChains(const uint32_t* (&lines)[kVectors], size_t count,
                          const typename Line::Input* x, size_t stride, float* acc) {
  constexpr size_t kLines = kFloatChain / Line::kValues;
  for (size_t i = 0; i < count; i += kLines, x += kFloatChain) {
    AddLines<Line, kVectors, kTokens>(lines, std::min(kLines, count - i), x, stride, acc);
    for (const uint32_t*& vector : lines) vector += kLines * kPanelRows;
  }
}

// The lines of a tile's 16 or 32 rows for some values.
struct TileLines {
  const uint32_t* panels[kRowTile / kPanelRows];
  size_t rows;   // 16 or 32
  size_t count;  // lines of a panel
};

template <class Line, size_t kTokens>
void AddTokens(const TileLines& lines, const typename Line::Input* x, size_t stride, float* acc) {
  const auto at = [&](size_t row) { return lines.panels[row / kPanelRows] + row % kPanelRows; };
  size_t row = 0;
  for (; row + kFloatVectors * kFloatLanes <= lines.rows; row += kFloatVectors * kFloatLanes) {
    const uint32_t* vectors[kFloatVectors];
    for (size_t v = 0; v < kFloatVectors; ++v) vectors[v] = at(row + v * kFloatLanes);
    AddChains<Line, kFloatVectors, kTokens>(vectors, lines.count, x, stride, acc + row);
  }
  for (; row < lines.rows; row += kFloatLanes) {
    const uint32_t* vector[] = {at(row)};
    AddChains<Line, 1, kTokens>(vector, lines.count, x, stride, acc + row);
  }
}

// acc[tokens][kRowTile] += the products with x[tokens][stride].
template <class Line>
void AddProducts(const TileLines& lines, const typename Line::Input* x, size_t stride,
                 size_t tokens, float* acc) {
  size_t t = 0;
  for (; t + 8 <= tokens; t += 8) {
    AddTokens<Line, 8>(lines, x + t * stride, stride, acc + t * kRowTile);
  }
  for (; t + 2 <= tokens; t += 2) {
    AddTokens<Line, 2>(lines, x + t * stride, stride, acc + t * kRowTile);
  }
  if (t < tokens) AddTokens<Line, 1>(lines, x + t * stride, stride, acc + t * kRowTile);
}

// Packs bytes [begin, end) of `rows` <= 16 rows that lie row_bytes apart: lines of their words, the
// last one padded with zero bytes; begin: a multiple of 4. Missing rows are zeros. kStream: past
// the caches.
template <bool kStream>
HWY_INLINE void PackLines(const std::byte* first_row, size_t rows, size_t row_bytes, size_t begin,
                          size_t end, uint32_t* lines) {
  constexpr size_t kChunk = 64;
  alignas(64) uint8_t chunks[kPanelRows][kChunk] = {};
  for (; begin < end; begin += kChunk, lines += kChunk / 4 * kPanelRows) {
    const size_t bytes = std::min(kChunk, end - begin);
    for (size_t row = 0; row < rows; ++row) {
      if (bytes < kChunk) std::memset(chunks[row], 0, kChunk);
      std::memcpy(chunks[row], first_row + row * row_bytes + begin, bytes);
    }
    for (size_t row = 0; row < kPanelRows; row += kFloatLanes) {
      for (size_t word = 0; word * 4 < bytes; word += 4) {
        const FourWords words = TransposeWords(chunks[row] + 4 * word, kChunk);
        for (size_t j = 0; j < 4 && (word + j) * 4 < bytes; ++j) {
          uint32_t* line = lines + (word + j) * kPanelRows + row;
          if constexpr (kStream) {
            hn::Stream(words.w[j], D32(), line);
          } else {
            hn::Store(words.w[j], D32(), line);
          }
        }
      }
    }
  }
}

// Memory for 256 values of a tile.
struct FloatScratch {
  alignas(64) uint32_t lines[kRowTile / kPanelRows][kPanelValues * kPanelRows];
  alignas(64) float values[kRowTile / kPanelRows][kPanelValues * kPanelRows];
};
static_assert(sizeof(FloatScratch) == kFloatScratchBytes);

// Calls add(lines, k, values, memory) for every 256 values of a tile, after tile.out was cleared.
// A packed tile's lines are where they are, a mapped one's are packed first.
template <gguf::Format F, class Add>
HWY_INLINE void EachSlice(const MatMulTile& tile, std::byte* scratch, const Add& add) {
  constexpr size_t kBytes = gguf::Traits<F>::kBytes;
  auto& memory = *reinterpret_cast<FloatScratch*>(scratch);
  const size_t panels = (tile.rows + kPanelRows - 1) / kPanelRows;
  std::fill_n(tile.out, tile.tokens * kRowTile, 0.0f);
  for (size_t k = 0; k < tile.values; k += kPanelValues) {
    const size_t values = std::min(kPanelValues, tile.values - k);
    TileLines lines{{}, panels * kPanelRows, (values * kBytes + 3) / 4};
    for (size_t panel = 0; panel < panels; ++panel) {
      if (tile.row_bytes == WeightTile::kPacked) {
        const std::byte* first = tile.weights + panel * packed_tile_bytes(F, tile.values);
        lines.panels[panel] =
            reinterpret_cast<const uint32_t*>(first) + k * kBytes / 4 * kPanelRows;
      } else {
        const size_t row = panel * kPanelRows;
        PackLines<false>(tile.weights + row * tile.row_bytes, std::min(kPanelRows, tile.rows - row),
                         tile.row_bytes, k * kBytes, (k + values) * kBytes, memory.lines[panel]);
        lines.panels[panel] = memory.lines[panel];
      }
    }
    add(lines, k, values, memory);
  }
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // HWY_TARGET != HWY_SCALAR

// At the end of a float format's file: its kernels, as QUERN_FORMAT_KERNELS does for the others.
// The file defines Multiply##name.
#undef QUERN_FLOAT_KERNELS_OF_TARGET
#if HWY_TARGET == HWY_SCALAR
#define QUERN_FLOAT_KERNELS_OF_TARGET(name) \
  FormatKernels Kernels##name() { return {}; }
#else
#define QUERN_FLOAT_KERNELS_OF_TARGET(name)                                                        \
  void Pack##name(const std::byte* rows_start, size_t rows, size_t row_bytes, std::byte* tile) {   \
    PackLines<true>(rows_start, rows, row_bytes, 0, row_bytes, reinterpret_cast<uint32_t*>(tile)); \
  }                                                                                                \
  void UnpackRow##name(const std::byte* tile, size_t row, size_t row_bytes, std::byte* out) {      \
    for (size_t at = 0; at < row_bytes; at += 4) {                                                 \
      std::memcpy(out + at, tile + at * kPanelRows + 4 * row,                                      \
                  std::min<size_t>(4, row_bytes - at));                                            \
    }                                                                                              \
  }                                                                                                \
  FormatKernels Kernels##name() {                                                                  \
    return {.pack = Pack##name, .unpack_row = UnpackRow##name, .multiply = Multiply##name};        \
  }
#endif
#undef QUERN_FLOAT_KERNELS
#define QUERN_FLOAT_KERNELS(name)                \
  HWY_BEFORE_NAMESPACE();                        \
  namespace quern::kernels::cpu::HWY_NAMESPACE { \
  QUERN_FLOAT_KERNELS_OF_TARGET(name)            \
  }                                              \
  HWY_AFTER_NAMESPACE();                         \
  QUERN_FORMAT_ENTRY(name)
#endif

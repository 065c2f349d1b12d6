// What goes into the cache comes out of it, through the kernels that read it.
#include "kernels/cpu/kv_cache.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <map>
#include <random>

#include "kernels/cpu/attention_kernels.h"
#include "kernels/cpu/f16.h"
#include "tests/kernels/targets.h"

namespace quern::kernels::cpu {
namespace {

constexpr uint32_t kSeed = 20240620;
constexpr CacheType kCacheTypes[] = {CacheType::kF32, CacheType::kF16, CacheType::kQ8_0};
constexpr Heads kHeads = {2, 2, 80, 48};  // widths that are no multiple of 32

// Key of one position, value by value: q = e_i picks value i without rounding.
std::vector<float> read_key(const TileLayout& layout, const std::byte* keys, uint32_t position) {
  std::vector<float> key;
  for (uint32_t i = 0; i < layout.key_width; ++i) {
    std::vector<float> unit(layout.key_width, 0.0f);
    unit[i] = 1;
    const float* query = unit.data();
    float scores[kTilePositions];
    tile_scores(layout, keys, &query, 1, scores, kTilePositions, keys);
    key.push_back(scores[position]);
  }
  return key;
}

std::vector<float> read_value(const TileLayout& layout, const std::byte* values,
                              uint32_t position) {
  float weights[kTilePositions] = {};
  weights[position] = 1;
  std::vector<float> value(layout.value_stride, 0.0f);
  float* out = value.data();
  const Span seen{0, position + 1};
  tile_values(layout, values, weights, kTilePositions, &seen, 1, &out, values);
  value.resize(layout.value_width);
  return value;
}

// The largest error of value i of a stored head. f16 rounds to 11 bits, or to a multiple of 2^-24;
// so does the scale d = max|x| / 127 of q8_0, whose codes, at most 127, round x to half a step.
double allowed_error(CacheType type, const std::vector<float>& x, size_t i) {
  const auto f16 = [](double value) { return std::max(std::abs(value) * 0x1p-11, 0x1p-25); };
  if (type == CacheType::kF32) return 0;
  if (type == CacheType::kF16) return f16(x[i]);
  double largest = 0;
  const size_t group = i / kScaleGroup * kScaleGroup;
  for (size_t k = group; k < std::min(x.size(), group + kScaleGroup); ++k) {
    largest = std::max(largest, std::abs(double{x[k]}));
  }
  const double d = largest / 127;
  return 0.50001 * d + 127 * f16(d);
}

void expect_stored(CacheType type, const std::vector<float>& found, const std::vector<float>& x) {
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_NEAR(found[i], x[i], allowed_error(type, x, i)) << "value " << i;
  }
}

// Groups of 32 from the range of subnormal halves up to thousands.
std::vector<float> varied(size_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) {
    if (i % 32 == 0)
      normal = std::normal_distribution<float>(
          0, std::ldexp(1.0f, static_cast<int>(random() % 32) - 20));
    x[i] = normal(random);
  }
  return x;
}

class CacheOf : public testing::TestWithParam<CacheType> {
 protected:
  static Program program() {
    Program program;
    program.layers = {kHeads, {3, 1, 16, 16}, kHeads};
    return program;
  }
  std::unique_ptr<CpuCache> make(uint32_t blocks) {
    auto cache = CpuCache::make(program(), GetParam(), blocks);
    EXPECT_TRUE(cache);
    return std::move(*cache);
  }
  std::mt19937 random_{kSeed};
};

TEST_P(CacheOf, returnsKeysAndValuesWithinTheRoundingOfItsType) {
  const auto cache = make(1);
  const TileLayout& layout = cache->layout(0);
  std::byte* key_tile = cache->keys(0, 0, 1);
  std::byte* value_tile = cache->values(0, 0, 1);
  std::vector<std::vector<float>> keys, values;
  for (uint32_t p = 0; p < kTilePositions; ++p) {
    keys.push_back(varied(layout.key_width, random_));
    values.push_back(varied(layout.value_width, random_));
    store_key(layout, key_tile, p, keys[p].data());
    store_value(layout, value_tile, p, values[p].data());
  }
  for (uint32_t p = 0; p < kTilePositions; ++p) {
    expect_stored(GetParam(), read_key(layout, key_tile, p), keys[p]);
    expect_stored(GetParam(), read_value(layout, value_tile, p), values[p]);
  }
}

TEST_P(CacheOf, usesTheWholeRangeOfItsType) {
  const auto cache = make(1);
  const TileLayout& layout = cache->layout(1);
  std::byte* keys = cache->keys(1, 0, 0);
  std::byte* values = cache->values(1, 0, 0);
  // The largest of a group and its opposite are off by the rounding of the scale alone.
  std::vector<float> x(16, 0.3f);
  x[2] = 5;
  x[9] = -5;
  store_key(layout, keys, 3, x.data());
  store_value(layout, values, 3, x.data());
  for (const auto& found : {read_key(layout, keys, 3), read_value(layout, values, 3)}) {
    EXPECT_NEAR(found[2], 5, 5 * 0x1p-11);
    EXPECT_EQ(found[9], -found[2]);
  }
}

TEST_P(CacheOf, givesEveryTileItsOwnBytes) {
  const auto cache = make(11);
  std::map<const std::byte*, size_t> tiles;  // start and size
  const Program shape = program();
  uint64_t bytes = 0;
  for (uint32_t layer = 0; layer < shape.layers.size(); ++layer) {
    const TileLayout& layout = cache->layout(layer);
    for (uint32_t block = 0; block < 11; ++block) {
      for (uint32_t head = 0; head < shape.layers[layer].keys; ++head) {
        tiles[cache->keys(layer, block, head)] = layout.key_bytes;
        tiles[cache->values(layer, block, head)] = layout.value_bytes;
        bytes += layout.key_bytes + layout.value_bytes;
      }
    }
  }
  EXPECT_EQ(tiles.size(), 11u * 2 * (2 + 1 + 2));
  EXPECT_EQ(bytes, cache->bytes());
  for (auto it = tiles.begin(); it != tiles.end(); ++it) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(it->first) % 64, 0u);
    EXPECT_TRUE(std::next(it) == tiles.end() || it->first + it->second <= std::next(it)->first);
  }
  EXPECT_LE(tiles.rbegin()->first + tiles.rbegin()->second, tiles.begin()->first + bytes);
}

TEST_P(CacheOf, laysEightBlocksOfAHeadTogether) {
  const auto cache = make(19);
  const size_t key_bytes = cache->layout(2).key_bytes, value_bytes = cache->layout(2).value_bytes;
  for (uint32_t head = 0; head < 2; ++head) {
    for (uint32_t block = 0; block < 19; ++block) {
      const uint32_t first = block / 8 * 8;
      EXPECT_EQ(cache->keys(2, block, head), cache->keys(2, first, head) + block % 8 * key_bytes);
      EXPECT_EQ(cache->values(2, block, head),
                cache->values(2, first, head) + block % 8 * value_bytes);
    }
  }
}

TEST_P(CacheOf, partsOfATileDoNotOverlap) {
  for (const Heads& heads : {kHeads, Heads{1, 1, 16, 16}, Heads{1, 1, 128, 1}}) {
    const TileLayout layout(heads, GetParam());
    const size_t code = GetParam() == CacheType::kF32 ? 4 : GetParam() == CacheType::kF16 ? 2 : 1;
    const size_t scales = GetParam() == CacheType::kQ8_0 ? 64 * 2 : 0;
    EXPECT_GE(layout.key_scales, heads.key_width * 64 * code);
    EXPECT_GE(layout.key_bytes, layout.key_scales + (heads.key_width + 31) / 32 * scales);
    EXPECT_GE(layout.value_scales, (heads.value_width + 31) / 32 * 32 * 64 * code);
    EXPECT_GE(layout.value_bytes, layout.value_scales + (heads.value_width + 31) / 32 * scales);
  }
}

TEST_P(CacheOf, copiesABlockOfAllLayersAndNothingElse) {
  const auto cache = make(3);
  const Program shape = program();
  const auto key_of = [](uint32_t layer, uint32_t block, uint32_t head, uint32_t position) {
    return static_cast<float>(1 + layer + 3 * (block + 3 * (head + 2 * position)));
  };
  const auto for_all = [&](auto&& action) {
    for (uint32_t layer = 0; layer < shape.layers.size(); ++layer) {
      for (uint32_t block = 0; block < 3; ++block) {
        for (uint32_t head = 0; head < shape.layers[layer].keys; ++head) {
          for (const uint32_t position : {0u, 31u, 63u}) action(layer, block, head, position);
        }
      }
    }
  };
  for_all([&](uint32_t layer, uint32_t block, uint32_t head, uint32_t position) {
    const std::vector<float> x(80, key_of(layer, block, head, position));
    store_key(cache->layout(layer), cache->keys(layer, block, head), position, x.data());
    store_value(cache->layout(layer), cache->values(layer, block, head), position, x.data());
  });
  cache->copy_block(0, 0, 2);
  for_all([&](uint32_t layer, uint32_t block, uint32_t head, uint32_t position) {
    const float expected = key_of(layer, block == 2 ? 0 : block, head, position);
    const TileLayout& layout = cache->layout(layer);
    for (const auto& found : {read_key(layout, cache->keys(layer, block, head), position),
                              read_value(layout, cache->values(layer, block, head), position)}) {
      ASSERT_NEAR(found.back(), expected, expected * 0x1p-10);
    }
  });
}

TEST_P(CacheOf, showsNotANumberInTheScoreOfItsPositionOnly) {
  for (const float bad : {NAN, INFINITY}) {
    const auto cache = make(1);
    const TileLayout& layout = cache->layout(0);
    std::byte* keys = cache->keys(0, 0, 0);
    for (uint32_t p = 0; p < kTilePositions; ++p) {
      std::vector<float> key(layout.key_width, 0.5f);
      if (p == 6) key[70] = bad;
      store_key(layout, keys, p, key.data());
    }
    std::vector<float> q(layout.key_width, 1.0f);
    q[3] = 0;  // 0 · NaN and 0 · infinity are not hidden either
    const float* query = q.data();
    float scores[kTilePositions];
    tile_scores(layout, keys, &query, 1, scores, kTilePositions, keys);
    for (uint32_t p = 0; p < kTilePositions; ++p) EXPECT_EQ(std::isfinite(scores[p]), p != 6) << p;
  }
}

TEST(CacheOfHalves, roundsToTheNearestOnEveryInstructionSet) {
  const TileLayout layout({1, 1, 32, 32}, CacheType::kF16);
  std::mt19937 random(kSeed);
  std::vector<std::byte> tile(layout.value_bytes);
  test::for_each_instruction_set([&](bool) {
    for (int round = 0; round < 2000; ++round) {
      float x[32];
      for (float& v : x) v = std::bit_cast<float>(static_cast<uint32_t>(random()));
      // Ties, the smallest and largest halves, and their neighbours.
      const float special[] = {0x1p-25f,     0x1.8p-24f, 0x1.002p0f, 0x1.006p0f, 0x1.ffcp-15f,
                               0x1.ffep-15f, 65519.9f,   65520.0f,   -0.0f,      -65504.0f,
                               INFINITY,     -INFINITY,  0x1p-24f,   0x1p-14f};
      if (round % 2) std::copy(std::begin(special), std::end(special), x);
      for (size_t i = 0; i < 32; i += 3) x[i] = std::ldexp(x[i], -static_cast<int>(random() % 30));
      store_value(layout, tile.data(), 7, x);
      const auto* stored = reinterpret_cast<const uint16_t*>(tile.data()) + 7 * 32;
      for (size_t i = 0; i < 32; ++i) {
        if (std::isnan(x[i])) {
          ASSERT_TRUE(std::isnan(f16_to_f32(stored[i])));
        } else {
          ASSERT_EQ(stored[i], f32_to_f16(x[i])) << x[i];
        }
      }
    }
  });
}

TEST_P(CacheOf, readsNoPositionThatAQueryMayNotSee) {
  const auto cache = make(1);
  const TileLayout& layout = cache->layout(0);
  std::byte* tile = cache->values(0, 0, 0);
  for (uint32_t p = 0; p < kTilePositions; ++p) {
    const std::vector<float> value(layout.value_width, p < 5 ? 1.0f : NAN);
    store_value(layout, tile, p, value.data());
  }
  // Five queries, four of which are read together; the weights of hidden positions are NaN too.
  const Span seen[5] = {{0, 5}, {0, 0}, {1, 3}, {3, 4}, {0, 2}};
  std::vector<float> weights(5 * kTilePositions, NAN);
  std::vector<std::vector<float>> sums(5, std::vector<float>(layout.value_stride, 10.0f));
  float* out[5];
  for (size_t i = 0; i < 5; ++i) {
    float* weight = weights.data() + i * kTilePositions;
    std::fill(weight + seen[i].begin, weight + seen[i].end, 2.0f);
    out[i] = sums[i].data();
  }
  tile_values(layout, tile, weights.data(), kTilePositions, seen, 5, out, tile);
  for (size_t i = 0; i < 5; ++i) {
    for (uint32_t d = 0; d < layout.value_width; ++d) {
      ASSERT_NEAR(sums[i][d], 10 + 2 * static_cast<float>(seen[i].end - seen[i].begin), 0.01) << i;
    }
  }
}

std::string type_name(const testing::TestParamInfo<CacheType>& type) {
  return type.param == CacheType::kF32 ? "f32" : type.param == CacheType::kF16 ? "f16" : "q8_0";
}

INSTANTIATE_TEST_SUITE_P(Types, CacheOf, testing::ValuesIn(kCacheTypes), type_name);

}  // namespace
}  // namespace quern::kernels::cpu

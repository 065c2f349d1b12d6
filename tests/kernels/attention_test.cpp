// Rope, per-head norms, the cache and attention on the CPU against the scalar reference.
#include "kernels/cpu/attention.h"

#include <gtest/gtest.h>

#include <numbers>

#include "tests/kernels/small_program.h"
#include "tests/kernels/targets.h"

namespace quern::kernels {
namespace {

using test::SmallProgram;
using test::TestBatch;

constexpr uint32_t kSeed = 20240619;
constexpr CacheType kCacheTypes[] = {CacheType::kF32, CacheType::kF16, CacheType::kQ8_0};

// Heads that every cache type stores exactly: multiples of 1/64 up to 127/64, reached in every 32
// values of a head.
std::vector<float> storable_table(SmallProgram& small, uint32_t heads, uint32_t width) {
  std::vector<float> table(SmallProgram::kTokens * heads * width);
  for (size_t i = 0; i < table.size(); ++i) {
    const int code = static_cast<int>(small.random() % 255) - 127;
    table[i] = static_cast<float>(i % width % 32 == 0 ? 127 : code) / 64.0f;
  }
  return table;
}

std::vector<uint32_t> blocks_for(uint32_t positions) {
  std::vector<uint32_t> blocks((positions + kBlockPositions - 1) / kBlockPositions);
  // A permutation, so that a position is not where its number says.
  for (uint32_t i = 0; i < blocks.size(); ++i) {
    blocks[i] = static_cast<uint32_t>(blocks.size()) - 1 - i;
  }
  return blocks;
}

// q, k and v are vectors of the token; they join the cache of one layer, then attend to it.
struct AttentionLayer {
  SmallProgram small{kSeed};
  SmallProgram append{kSeed};  // the same without attention: fills a cache cheaply
  ValueId q, k, v, out;

  explicit AttentionLayer(const Heads& heads, bool storable = true) {
    q = small.embed(heads.queries * heads.key_width);
    k = storable ? small.embed(heads.keys * heads.key_width,
                               storable_table(small, heads.keys, heads.key_width))
                 : small.embed(heads.keys * heads.key_width);
    const uint32_t v_width = heads.keys * heads.value_width;
    v = heads.shared ? kAbsent
        : storable   ? small.embed(v_width, storable_table(small, heads.keys, heads.value_width))
                     : small.embed(v_width);
    out = small.program.add_value(heads.queries * heads.value_width);
    small.program.ropes = {Rope{}};
    small.program.layers = {heads};
    small.program.ops.push_back(
        CacheAppend{.q = q, .k = k, .v = v, .q_norm = {}, .k_norm = {}, .rope = 0, .layer = 0});
    append = small;
    const float scale = 1 / std::sqrt(static_cast<float>(heads.key_width));
    small.program.ops.push_back(Attention{q, out, 0, scale});
  }

  Attention& attention() { return std::get<Attention>(small.program.ops.back()); }

  // Fills positions [0, past), in whatever batch.
  void fill(Backend& backend, Cache& cache, TestBatch batch) const {
    if (batch.rows.empty()) return;
    batch.logit_rows = {0};
    test::run(backend, append, k, cache, batch);
  }

  // Attention of positions [past, past + rows), after all before them.
  std::vector<float> attend(Backend& backend, CacheType type, uint32_t past, uint32_t rows) const {
    const auto blocks = blocks_for(past + rows);
    const auto cache = test::make_cache(backend, small, static_cast<uint32_t>(blocks.size()), type);
    fill(backend, *cache, test::one_sequence(0, past, blocks));
    return test::run(backend, small, out, *cache, test::one_sequence(past, past + rows, blocks));
  }
};

class AttentionShapes : public testing::TestWithParam<Heads> {};

// Keys and values are stored exactly, so only the rounding of f32 chains is left: scores of about
// unit size, each a chain of at most 128 products, are off by some 1e-6, and so are the weights, of
// which the outputs are sums. Outputs are averages of many values, down to a tenth of one.
TEST_P(AttentionShapes, equalsTheReferenceAcrossGranulesForEveryCacheType) {
  const AttentionLayer layer(GetParam());
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  // The last batch of each: rows that split by granule, and rows that walk over granules.
  for (const auto& [past, rows] :
       {std::pair(0u, 9u), std::pair(507u, 11u), std::pair(1021u, 4u), std::pair(1097u, 3u)}) {
    const auto expected = layer.attend(*reference, CacheType::kF32, past, rows);
    for (const CacheType type : kCacheTypes) {
      SCOPED_TRACE(testing::Message()
                   << "past " << past << ", cache type " << static_cast<int>(type));
      test::expect_close(layer.attend(*cpu, type, past, rows), expected, 1e-5);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Heads, AttentionShapes,
    testing::Values(Heads{1, 1, 16, 16}, Heads{2, 1, 64, 64}, Heads{6, 2, 80, 80},
                    Heads{5, 1, 64, 32}, Heads{8, 1, 128, 128}, Heads{14, 2, 16, 80},
                    Heads{4, 4, 128, 64}, Heads{20, 1, 16, 16}, Heads{16, 1, 96, 64, 0, true},
                    Heads{6, 2, 82, 75, 0, true}),
    [](const auto& test) {
      const Heads& heads = test.param;
      return std::to_string(heads.queries) + "to" + std::to_string(heads.keys) + "x" +
             std::to_string(heads.key_width) + "and" + std::to_string(heads.value_width) +
             (heads.shared ? "shared" : "");
    });

// Keys and values of deviation 1 in a cache that rounds them. q8_0: a step is max|x| / 127 with
// max|x| about 2.4, so each value is off by 2.4 / 127 / sqrt(12) = 0.55 %, and f16 by at most
// 2^-11 / sqrt(3) = 0.03 %. A score (q · k / sqrt(width)) is then off by as much absolutely, a
// weight relatively, and an output by sqrt(2) of it. Six deviations, for the largest of 1536.
TEST(Attention, staysWithinTheRoundingOfTheCache) {
  const AttentionLayer layer({8, 2, 64, 64}, false);
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  const auto expected = layer.attend(*reference, CacheType::kF32, 700, 3);
  const double f16 = 0.0003, q8_0 = 0.0055;
  test::expect_close(layer.attend(*cpu, CacheType::kF32, 700, 3), expected, 1e-5);
  test::expect_close(layer.attend(*cpu, CacheType::kF16, 700, 3), expected, 6 * 1.5 * f16);
  test::expect_close(layer.attend(*cpu, CacheType::kQ8_0, 700, 3), expected, 6 * 1.5 * q8_0);
}

// The fields of Attention that today's models set, alone and together. Windows that begin in the
// granule of their row, at its border, one and two granules before it, and of one position.
TEST(Attention, equalsTheReferenceWithWindowsSoftCapsAndSinks) {
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  for (const uint32_t window : {0u, 1u, 16u, 200u, 513u, 1100u}) {
    for (const bool others : {false, true}) {
      AttentionLayer layer({6, 2, 32, 32});
      layer.attention().window = window;
      if (others) layer.attention().softcap = 1.5f;
      if (others) layer.attention().sinks = layer.small.vector(6, 2, 3);
      for (const auto& [past, rows] :
           {std::pair(0u, 40u), std::pair(1021u, 4u), std::pair(1300u, 9u), std::pair(500u, 70u)}) {
        SCOPED_TRACE(testing::Message()
                     << "window " << window << ", others " << others << ", past " << past);
        test::expect_close(layer.attend(*cpu, CacheType::kF32, past, rows),
                           layer.attend(*reference, CacheType::kF32, past, rows), 1e-5);
      }
    }
  }
}

TEST(Attention, aWindowOfOneIsTheRowsOwnValueAndASinkTakesItsShare) {
  AttentionLayer layer({2, 1, 32, 32});
  layer.attention().window = 1;
  const auto cpu = make_cpu_backend(2);
  const auto alone = layer.attend(*cpu, CacheType::kF32, 600, 3);
  const auto cache = test::make_cache(*cpu, layer.small, 10);
  const auto values =
      test::run(*cpu, layer.append, layer.v, *cache, test::one_sequence(600, 603, blocks_for(603)));
  for (size_t i = 0; i < alone.size(); ++i) ASSERT_EQ(alone[i], values[i / 64 * 32 + i % 32]);
  // A score of zero (scale is tiny) beside a sink of ln 3: a quarter is left.
  layer.attention().scale = 1e-30f;
  layer.attention().sinks = layer.small.floats({2, 1, 1, 1}, {std::log(3.0f), std::log(3.0f)});
  const auto quarter = layer.attend(*cpu, CacheType::kF32, 600, 3);
  for (size_t i = 0; i < alone.size(); ++i) ASSERT_NEAR(quarter[i], alone[i] / 4, 1e-6);
}

TEST(Attention, sequencesThatForkShareBlocksAndNothingElse) {
  const AttentionLayer layer({4, 2, 32, 32});
  const std::vector<uint32_t> trunk = {3, 1}, branch = {3, 5};
  const TestBatch past = test::one_sequence(0, 100, trunk);
  // Positions 100 … 111 of both, taking turns, with tokens of their own.
  TestBatch both{{}, {trunk, branch}};
  for (uint32_t p = 100; p < 112; ++p) {
    both.rows.push_back({0, p, static_cast<int32_t>(p % 50)});
    both.rows.push_back({1, p, static_cast<int32_t>(96 - p % 50)});
  }
  for (const auto& backend : {make_cpu_backend(2), make_reference_backend()}) {
    SCOPED_TRACE(backend->name());
    const auto cache = test::make_cache(*backend, layer.small, 6, CacheType::kF16);
    layer.fill(*backend, *cache, past);
    cache->copy_block(0, 1, 5);
    const auto together = test::run(*backend, layer.small, layer.out, *cache, both);

    std::vector<float> alone[2];
    for (uint32_t s = 0; s < 2; ++s) {
      const auto own = test::make_cache(*backend, layer.small, 6, CacheType::kF16);
      layer.fill(*backend, *own, past);
      TestBatch rows{{}, {trunk}};
      for (size_t i = s; i < both.rows.size(); i += 2) {
        rows.rows.push_back({0, both.rows[i].position, both.rows[i].token});
      }
      alone[s] = test::run(*backend, layer.small, layer.out, *own, rows);
    }
    const size_t width = 4 * 32;
    for (size_t i = 0; i < together.size(); ++i) {
      const size_t row = i / width;
      ASSERT_EQ(together[i], alone[row % 2][row / 2 * width + i % width]) << i;
    }
  }
}

class AttentionBits : public testing::TestWithParam<bool> {};

TEST_P(AttentionBits, areTheSameForAnyThreadsInstructionSetAndBatch) {
  AttentionLayer layer(
      {.queries = 6, .keys = 2, .key_width = 80, .value_width = 48, .shared = GetParam()}, false);
  layer.attention().softcap = 4;
  layer.attention().sinks = layer.small.vector(6, 0, 1);
  const uint32_t past = 1000, rows = 40;  // over the border of a granule
  layer.attention().window = 510;         // which begins over another one
  const auto blocks = blocks_for(past + rows);
  const TestBatch batch = test::one_sequence(past, past + rows, blocks);
  const auto first = make_cpu_backend(1);
  for (const CacheType type : kCacheTypes) {
    const auto cache =
        test::make_cache(*first, layer.small, static_cast<uint32_t>(blocks.size()), type);
    layer.fill(*first, *cache, test::one_sequence(0, past, blocks));
    const auto expected = test::run(*first, layer.small, layer.out, *cache, batch);
    test::for_each_instruction_set([&](bool exact) {
      if (!exact) return;
      for (const size_t threads : {1, 2, 3}) {
        const auto cpu = make_cpu_backend(threads);
        for (const size_t chunk : {size_t{1}, size_t{cpu::kSplitRows}, size_t{rows}}) {
          std::vector<float> found;
          for (size_t row = 0; row < rows; row += chunk) {
            const auto part = test::run(*cpu, layer.small, layer.out, *cache,
                                        batch.part(row, std::min<size_t>(rows, row + chunk)));
            found.insert(found.end(), part.begin(), part.end());
          }
          test::expect_same(found, expected);
        }
      }
    });
  }
}

INSTANTIATE_TEST_SUITE_P(SharedValues, AttentionBits, testing::Bool());

TEST(Attention, showsNotANumberToTheRowsThatSeeItOnly) {
  const uint32_t bad = 517, past = 510, rows = 12;
  enum { kKey, kValue, kShared };
  for (const auto where : {kKey, kValue, kShared}) {
    AttentionLayer layer({2, 1, 32, 32, 0, where == kShared});
    const int32_t token = 13;
    auto& table = layer.small.weights[where == kValue ? 2 : 1];
    const std::vector<float> nans(32, NAN);
    auto bytes = std::vector<std::byte>(table.bytes.begin(), table.bytes.end());
    std::memcpy(&bytes[token * 32 * sizeof(float)], nans.data(), 32 * sizeof(float));
    table.bytes = bytes;
    const auto blocks = blocks_for(past + rows);
    TestBatch batch = test::one_sequence(past, past + rows, blocks);
    for (TestBatch::Row& row : batch.rows) row.token = row.position == bad ? token : 7;
    for (const CacheType type : kCacheTypes) {
      for (const auto& backend : {make_cpu_backend(2), make_reference_backend()}) {
        const auto cache =
            test::make_cache(*backend, layer.small, static_cast<uint32_t>(blocks.size()), type);
        TestBatch before = test::one_sequence(0, past, blocks);
        for (TestBatch::Row& row : before.rows) row.token = 7;
        layer.fill(*backend, *cache, before);
        const auto out = test::run(*backend, layer.small, layer.out, *cache, batch);
        for (size_t i = 0; i < out.size(); ++i) {
          ASSERT_EQ(std::isnan(out[i]), past + i / 64 >= bad) << backend->name() << ", value " << i;
        }
      }
    }
  }
}

// What CacheAppend makes of one head of q and k.
std::vector<float> appended(Backend& backend, const std::vector<float>& head, const Rope& rope,
                            uint32_t position, bool key) {
  SmallProgram small(kSeed);
  const auto width = static_cast<uint32_t>(head.size());
  std::vector<float> table(SmallProgram::kTokens * width);
  std::ranges::copy(head, table.begin());  // token 0
  const ValueId q = small.embed(width, table), k = small.embed(width, table);
  small.program.ropes = {rope};
  small.program.layers = {{1, 1, width, width}};
  small.program.ops.push_back(
      CacheAppend{.q = q, .k = k, .v = k, .q_norm = {}, .k_norm = {}, .rope = 0, .layer = 0});
  const auto cache = test::make_cache(backend, small, 1);
  const std::vector<uint32_t> blocks(position / kBlockPositions + 1, 0);
  return test::run(backend, small, key ? k : q, *cache, {{{0, position, 0}}, {blocks}});
}

TEST(Rope, turnsPairsByHand) {
  // A quarter turn of pair 0, none of pair 1; the rest passes through, the magnitude does not.
  Rope rope{{std::numbers::pi / 2, 0}, 2, Rope::Pairs::kInterleaved};
  for (const auto& backend : {make_cpu_backend(1), make_reference_backend()}) {
    for (const bool key : {false, true}) {
      rope.pairs = Rope::Pairs::kInterleaved;
      const auto interleaved = appended(*backend, {1, 2, 3, 4, 5, 6}, rope, 1, key);
      rope.pairs = Rope::Pairs::kHalves;
      const auto halves = appended(*backend, {1, 2, 3, 4, 5, 6}, rope, 1, key);
      const float expected[2][6] = {{-4, 2, 6, 8, 5, 6}, {-6, 4, 2, 8, 5, 6}};
      for (size_t i = 0; i < 6; ++i) {
        EXPECT_NEAR(interleaved[i], expected[0][i], 1e-5) << backend->name();
        EXPECT_NEAR(halves[i], expected[1][i], 1e-5) << backend->name();
      }
    }
  }
}

// The cosines are exact to half a step of f32, two products and a sum round: 4 steps of 2^-24.
TEST(Rope, equalsTheReferenceForBothPairingsAndPartialHeadsWithNorms) {
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  for (const auto pairs : {Rope::Pairs::kInterleaved, Rope::Pairs::kHalves}) {
    for (const uint32_t rotated : {0, 2, 48, 80}) {
      for (const bool norm : {false, true}) {
        AttentionLayer layer({6, 2, 80, 16}, false);
        Rope& rope = layer.append.program.ropes[0];
        rope = {{}, 1.3f, pairs};
        for (uint32_t i = 0; i < rotated / 2; ++i) {
          rope.frequencies.push_back(std::pow(1e4, -2.0 * i / rotated));
        }
        auto& append = std::get<CacheAppend>(layer.append.program.ops.back());
        if (norm) append.q_norm.norm = {layer.append.vector(80, 1, 0.3f), 1e-6f};
        if (norm) append.k_norm.norm = {layer.append.vector(80, 2, 0.3f), 1e-2f};
        const std::vector<uint32_t> blocks(100000 / kBlockPositions + 1, 0);
        TestBatch batch{{}, {blocks}};
        for (const uint32_t p : {0u, 1u, 77u, 4095u, 99999u}) batch.rows.push_back({0, p, 5});
        const auto run = [&](Backend& backend, ValueId value) {
          const auto cache = test::make_cache(backend, layer.append, 1);
          return test::run(backend, layer.append, value, *cache, batch);
        };
        test::expect_close(run(*cpu, layer.q), run(*reference, layer.q), 2e-6);
        test::expect_close(run(*cpu, layer.k), run(*reference, layer.k), 2e-6);
      }
    }
  }
}

TEST(CacheAppend, equalsTheReferenceForEveryHeadNormWithoutRopeAndWithTemperature) {
  const auto cpu = make_cpu_backend(2), reference = make_reference_backend();
  for (const auto over :
       {HeadNorm::Over::kEachHead, HeadNorm::Over::kOwnHead, HeadNorm::Over::kAllHeads}) {
    for (const auto kind : {Norm::Kind::kRms, Norm::Kind::kLayer}) {
      AttentionLayer layer({6, 2, 80, 16}, false);
      auto& append = std::get<CacheAppend>(layer.append.program.ops.back());
      append.rope = kAbsent;
      append.temperature = {.slope = 0.1f, .length = 100};
      const auto width = [&](uint32_t heads) {
        return over == HeadNorm::Over::kEachHead ? 80u : 80u * heads;
      };
      append.q_norm = {{layer.append.vector(width(6), 1, 0.3f), 1e-5f}, over};
      append.k_norm = {{layer.append.vector(width(2), 2, 0.3f), 1e-2f}, over};
      append.q_norm.norm.kind = append.k_norm.norm.kind = kind;
      if (kind == Norm::Kind::kLayer) append.k_norm.norm.bias = layer.append.vector(width(2), 0, 1);
      const std::vector<uint32_t> blocks(16, 0);
      TestBatch batch{{}, {blocks}};
      for (const uint32_t p : {0u, 99u, 100u, 777u}) batch.rows.push_back({0, p, int32_t(p % 90)});
      for (const ValueId value : {layer.q, layer.k}) {
        const auto run = [&](Backend& backend) {
          const auto cache = test::make_cache(backend, layer.append, 1);
          return test::run(backend, layer.append, value, *cache, batch);
        };
        test::expect_close(run(*cpu), run(*reference), 3e-6);
      }
    }
  }
}

TEST(Rope, doesNotDependOnTheBatchAroundARow) {
  const auto backend = make_cpu_backend(3);
  AttentionLayer layer({3, 1, 32, 32}, false);
  layer.append.program.ropes[0] = {{1, 0.1, 0.01}, 1, Rope::Pairs::kHalves};
  const auto cache = test::make_cache(*backend, layer.append, 2);
  const TestBatch batch = test::one_sequence(3, 70, {0, 1});
  const auto all = test::run(*backend, layer.append, layer.q, *cache, batch);
  for (const size_t row : {0, 20, 66}) {
    const auto one = test::run(*backend, layer.append, layer.q, *cache, batch.part(row, row + 1));
    const auto at = all.begin() + static_cast<ptrdiff_t>(row * 96);
    test::expect_same(one, {at, at + 96});
  }
}

}  // namespace
}  // namespace quern::kernels

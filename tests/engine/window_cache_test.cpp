// Layers with a sliding window keep only their window: what that costs in blocks, what rewinding
// and forking do then, and that no logit changes.
#include <gtest/gtest.h>

#include "engine/memory_plan.h"
#include "engine/session.h"
#include "tests/window_models.h"

namespace quern::engine {
namespace {

using kernels::kBlockPositions;

class NoCache final : public kernels::Cache {
 public:
  uint64_t bytes() const override { return 0; }
  void copy_block(uint32_t, uint32_t, uint32_t) override { ++copies; }
  int copies = 0;
};

// One group of layers that sees everything, one that sees 100 positions.
struct Pool {
  explicit Pool(uint32_t window_blocks)
      : groups{{.blocks = 64}, {.blocks = window_blocks, .window = 100, .most = 4}},
        states(std::make_unique<NoCache>(), groups, 0) {}

  size_t free_blocks(size_t group) {
    std::vector<uint32_t> taken;
    while (const auto id = states.blocks(group).take()) taken.push_back(*id);
    for (const uint32_t id : taken) states.blocks(group).release(id);
    return taken.size();
  }

  std::vector<BlockGroup> groups;
  StatePool states;
};

void grow(Sequence& sequence, uint32_t positions, uint32_t step = 1) {
  for (uint32_t i = 0; i < positions; i += step) {
    ASSERT_TRUE(sequence.reserve(step));
    sequence.advance(step);
  }
}

TEST(WindowedSequence, keepsNoMoreBlocksThanAskedAndAllThatTheNextRowSees) {
  Pool pool(4);
  Sequence sequence(pool.states);
  for (uint32_t length = 1; length <= 2000; ++length) {
    grow(sequence, 1);
    ASSERT_GE(pool.free_blocks(1), 4 - std::min<size_t>(4, (length + 63) / 64));
    const std::span<const uint32_t> blocks = sequence.blocks(1);
    ASSERT_EQ(blocks.size(), (length + 63) / 64);
    const uint32_t first = length < 100 ? 0 : (length - 99) / kBlockPositions;
    std::vector<uint32_t> seen(blocks.begin() + first, blocks.end());
    std::ranges::sort(seen);
    ASSERT_TRUE(std::ranges::adjacent_find(seen) == seen.end()) << length;
  }
  EXPECT_EQ(pool.free_blocks(0), 64u - 32);
}

TEST(WindowedSequence, rewindsForFreeWithinWhatItKeepsAndElseBeginsAnew) {
  for (const auto& [back, expected] : {std::pair(1u, 1999u), {50u, 1950u}, {300u, 0u}}) {
    Pool pool(4);
    Sequence sequence(pool.states);
    grow(sequence, 2000);
    sequence.rewind(2000 - back);
    EXPECT_EQ(sequence.length(), expected);
    grow(sequence, 300);
    sequence.rewind(0);
    EXPECT_EQ(pool.free_blocks(0), 64u);
    EXPECT_EQ(pool.free_blocks(1), 4u);
  }
}

TEST(WindowedSequence, forksShareBlocksAndSayWhenThereAreTooFew) {
  Pool pool(7);
  Sequence sequence(pool.states);
  grow(sequence, 1000);
  {
    Sequence fork = sequence.fork();
    EXPECT_EQ(pool.free_blocks(1), 3u);
    grow(fork, 500);
    grow(sequence, 500);
    Sequence third = sequence.fork();
    EXPECT_EQ(third.length(), 1500u);
    Status status;
    for (int i = 0; i < 500 && status; ++i) {
      status = third.reserve(1);
      if (status) third.advance(1);
    }
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, "cache-full");
  }
  sequence.rewind(0);
  EXPECT_EQ(pool.free_blocks(1), 7u);
}

class WindowModel : public ::testing::TestWithParam<const char*> {};

TEST_P(WindowModel, givesTheLogitsOfACacheThatKeepsEverything) {
  for (const size_t chunk : {1, 7, 48}) {
    SCOPED_TRACE(chunk);
    test::expect_logits_of_full_cache(GetParam(), chunk);
  }
}

TEST_P(WindowModel, givesThemSplitBetweenTwoDevices) {
  for (const uint32_t layers : {1u, 3u}) {
    test::expect_logits_of_full_cache(GetParam(), 48,
                                      {.devices = {"reference"}, .layers = layers, .rules = {}});
  }
}

TEST_P(WindowModel, keepsAndPlansLess) {
  const auto full = test::window_engine(GetParam(), test::kWindowContext);
  const auto engine = test::window_engine(GetParam(), test::kWindowChunk);
  const auto planned = [](const Engine& of) {
    return plan_memory(of.file(), of.model(), of.options())->cache_bytes();
  };
  // Of six blocks four, two for each sequence.
  const kernels::Program& program = engine->model().program;
  uint64_t all = 0, windowed = 0;
  for (const kernels::Heads& heads : program.layers) {
    const uint64_t stride = (heads.value_width + 31) / 32 * 32;  // see TileLayout
    const uint64_t bytes = heads.keys * (heads.key_width + stride);
    (program.windows[heads.group] > 0 ? windowed : all) += bytes;
  }
  ASSERT_GT(windowed, 0u);
  EXPECT_NEAR(static_cast<double>(planned(*engine)) / static_cast<double>(planned(*full)),
              (static_cast<double>(all) + static_cast<double>(windowed) * 4 / 6) /
                  static_cast<double>(all + windowed),
              1e-3);
}

TEST(WindowedEngine, hasRoomForTheForksThatItIsToldOf) {
  for (const uint32_t forks : {0u, 1u}) {
    const auto engine = test::load_engine(
        test::own_golden("models/gemma3.gguf"),
        {.threads = 1, .context = 320, .batch_rows = 8, .logit_rows = 8, .forks = forks});
    const std::vector<int32_t> tokens(160, 1);
    Sequence sequence = engine->new_sequence();
    test::run(*engine, sequence, tokens, 8);
    Sequence fork = sequence.fork();
    Status status;
    const CancelToken never{false};
    for (int i = 0; i < 70 && status; ++i) {
      for (Sequence* one : {&sequence, &fork}) {
        const Row row{one, 1, false};
        if (const auto logits = engine->step({&row, 1}, never); !logits) {
          status = tl::unexpected(logits.error());
        }
      }
    }
    EXPECT_EQ(status ? "" : status.error().code, forks > 0 ? "" : "cache-full");
  }
}

TEST_P(WindowModel, sessionsReadAgainWhatTheyNoLongerKeep) {
  const auto engine = test::window_engine(GetParam(), test::kWindowChunk);
  const std::vector<int32_t> tokens = test::window_tokens(*engine);
  const CancelToken never{false}, cancelled{true};
  const auto decode = [&](Session& session) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 20; ++i) ids.push_back(session.decode(never).value());
    return ids;
  };
  Session fresh(*engine, Sampler({.temperature = 0}), engine->vocabulary());
  ASSERT_TRUE(fresh.prefill(std::span(tokens).first(40), never));
  const std::vector<int32_t> expected = decode(fresh);
  fresh.rewind(0);

  Session session(*engine, Sampler({.temperature = 0}), engine->vocabulary());
  ASSERT_TRUE(session.prefill(tokens, never));
  EXPECT_EQ(session.kept(tokens.size() - 10), tokens.size() - 10);
  session.rewind(tokens.size() - 10);
  EXPECT_EQ(session.kept(40), 0u);
  session.rewind(40);
  EXPECT_FALSE(session.prefill(std::span(tokens).last(10), cancelled));
  EXPECT_EQ(session.tokens().size(), 40u);
  EXPECT_EQ(decode(session), expected);
}

INSTANTIATE_TEST_SUITE_P(Families, WindowModel, test::window_models(), test::window_model_name);

}  // namespace
}  // namespace quern::engine

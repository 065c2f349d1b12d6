// Sequences of recurrent models: which states they keep, and what rewinding and forking cost.
#include "engine/sequence.h"

#include <gtest/gtest.h>

#include "engine/session.h"
#include "tests/golden_model.h"

namespace quern::engine {
namespace {

class NoCache final : public kernels::Cache {
 public:
  uint64_t bytes() const override { return 0; }
  void copy_block(uint32_t, uint32_t, uint32_t) override {}
};

struct Pool {
  explicit Pool(uint32_t slots) : states(std::make_unique<NoCache>(), kBlocks, slots) {}
  static constexpr BlockGroup kBlocks[] = {{64}};
  StatePool states;
};

void grow(Sequence& sequence, uint32_t steps) {
  for (uint32_t i = 0; i < steps; ++i) {
    ASSERT_TRUE(sequence.reserve(1));
    sequence.advance(1);
  }
}

TEST(RecurrentSequence, aStepReadsTheLastStateAndWritesAnother) {
  Pool pool(kStatesPerSequence + 2);
  Sequence sequence(pool.states);
  ASSERT_TRUE(sequence.reserve(5));
  EXPECT_EQ(sequence.states().from, kernels::kAbsent);
  const uint32_t written = sequence.states().to;
  ASSERT_TRUE(sequence.reserve(5));  // after a step that failed
  EXPECT_EQ(sequence.states().to, written);
  sequence.advance(5);
  ASSERT_TRUE(sequence.reserve(1));
  EXPECT_EQ(sequence.states().from, written);
  EXPECT_NE(sequence.states().to, written);
}

TEST(RecurrentSequence, rewindReachesAStateThatIsFewTimesFurtherBack) {
  for (const uint32_t back : {1u, 10u, 100u, 1000u}) {
    Pool pool(kStatesPerSequence + 2);
    Sequence sequence(pool.states);
    grow(sequence, 2000);
    sequence.rewind(2000 - back);
    EXPECT_LE(sequence.length(), 2000 - back);
    EXPECT_LE(2000 - sequence.length(), 5 * back);
    EXPECT_EQ(sequence.blocks().size(), (sequence.length() + 63) / 64);
    grow(sequence, 1);
  }
}

TEST(RecurrentSequence, aForkGoesOnWithTheFewSlotsThatAreLeft) {
  Pool pool(kStatesPerSequence + 2);
  Sequence sequence(pool.states);
  grow(sequence, 50);
  {
    Sequence fork = sequence.fork();
    grow(fork, 20);
    grow(sequence, 20);
    fork.rewind(50);
    EXPECT_LE(fork.length(), 50u);
  }
  sequence.rewind(0);
  for (uint32_t slot = 0; slot < kStatesPerSequence + 1; ++slot) {
    EXPECT_TRUE(pool.states.states().take());  // nothing was lost, one is reserved for a next step
  }
}

class RecurrentModel : public ::testing::TestWithParam<const char*> {};

TEST_P(RecurrentModel, sessionsUndoForkAndSurviveACancel) {
  const test::GoldenModel golden =
      test::golden_model(std::string("families/") + GetParam(), "logits");
  const auto engine = test::load_engine(golden.path, {.threads = 2, .context = 96});
  const CancelToken never{false}, cancelled{true};
  const auto decode = [&](Session& session) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 20; ++i) ids.push_back(session.decode(never).value());
    return ids;
  };
  Session session(*engine, Sampler({.temperature = 0}), 96);
  ASSERT_TRUE(session.prefill(std::span(golden.tokens).first(30), never));
  Session fork = session.fork();
  const std::vector<int32_t> expected = decode(session);
  EXPECT_EQ(decode(fork), expected);

  session.rewind(30);
  EXPECT_EQ(decode(session), expected);
  session.rewind(30);
  EXPECT_FALSE(session.prefill(std::span(golden.tokens).last(10), cancelled));
  EXPECT_EQ(session.tokens().size(), 30u);
  EXPECT_EQ(decode(session), expected);
}

INSTANTIATE_TEST_SUITE_P(Families, RecurrentModel,
                         ::testing::Values("lfm2", "qwen35", "granitehybrid"));

}  // namespace
}  // namespace quern::engine

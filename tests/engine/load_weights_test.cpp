// Loading: how far it is, where it can be stopped, and what it finds.
#include "engine/load_weights.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/engine.h"
#include "gguf/block_layout.h"

namespace quern::engine {
namespace {

gguf::File bundled() {
  return *gguf::File::open(QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf");
}

// Loads the bundled model; the observer ends that when it is told for the `last`th time.
Status load(EngineOptions options, size_t last, std::vector<double>& told) {
  options.threads = 2;
  options.context = 64;
  options.progress = [&](double fraction) {
    told.push_back(fraction);
    return told.size() < last;
  };
  const auto engine = Engine::load(bundled(), options);
  if (!engine) return tl::unexpected(engine.error());
  return {};
}

TEST(LoadWeights, tellsHowFarItIsThroughCheckingAndPacking) {
  std::vector<double> told;
  ASSERT_TRUE(load({}, SIZE_MAX, told));
  EXPECT_GT(told.size(), 20u);
  EXPECT_TRUE(std::ranges::is_sorted(told));
  EXPECT_EQ(told.front(), 0);
  EXPECT_GT(told.back(), 0.6);  // not all weights are packed
  EXPECT_LE(told.back(), 1);
}

TEST(LoadWeights, endsWhereverItIsStopped) {
  for (const bool check : {true, false}) {
    std::vector<double> all;
    ASSERT_TRUE(load({.check_weights = check}, SIZE_MAX, all));
    // How the threads share the chunks varies, what is packed afterwards does not.
    for (size_t last = 1; last <= all.size() / 3; ++last) {
      std::vector<double> told;
      const Status status = load({.check_weights = check}, last, told);
      ASSERT_FALSE(status) << last;
      EXPECT_EQ(status.error().kind, ErrorKind::kCancelled);
      EXPECT_LE(told.size(), last + 1);  // once more at the end of checking
    }
  }
}

TEST(LoadWeights, packsTheRestWhenAskedTo) {
  const auto engine =
      *Engine::load(bundled(), {.threads = 2, .context = 64, .pack_while_running = true});
  const uint64_t all = engine->bytes_to_pack();
  EXPECT_GT(all, 0);
  const CancelToken now{true}, never{false};
  EXPECT_EQ(engine->pack(now).error().kind, ErrorKind::kCancelled);
  EXPECT_GT(engine->bytes_to_pack(), 0);
  EXPECT_TRUE(engine->pack(never));
  EXPECT_EQ(engine->bytes_to_pack(), 0);
}

TEST(LoadWeights, findsTheFirstCorruptBlockOfALargeTensor) {
  std::vector<gguf::BlockQ8_0> blocks(400'000);  // 13 MB, more than is checked at once
  const gguf::TensorView tensor{.name = "large",
                                .format = gguf::Format::Q8_0,
                                .shape = {32, blocks.size(), 1, 1},
                                .dims = 2,
                                .bytes = std::as_bytes(std::span(blocks))};
  const gguf::File file = bundled();
  const auto check = [&] {
    LoadProgress progress({}, {&tensor, 1}, 1);
    return check_weights(file, {&tensor, 1}, 2, false, progress);
  };
  EXPECT_TRUE(check());
  for (const size_t corrupt : {399'999, 300'001, 123'457, 0}) {
    blocks[corrupt].d = 0x7C00;
    const Status status = check();
    ASSERT_FALSE(status);
    EXPECT_NE(status.error().message.find("block " + std::to_string(corrupt) + " "),
              std::string::npos)
        << status.error().message;
  }
}

}  // namespace
}  // namespace quern::engine

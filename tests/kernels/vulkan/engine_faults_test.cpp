// A device that fails at any moment of an engine's life: the answer is finished all the same, with
// the tokens of the CPU and at most one sentence, and nothing is left behind.
#include <gtest/gtest.h>

#include "engine/session.h"
#include "kernels/vulkan/backend.h"
#include "tests/golden_path.h"
#include "tests/kernels/vulkan/faults.h"
#include "tests/kernels/vulkan/test_device.h"

namespace quern::engine {
namespace {

using kernels::vulkan::Device;
using test::Fault;

constexpr size_t kTokens = 8;
const std::vector<int32_t> kPrompt = {1, 20, 33, 4, 150, 7, 7, 90, 12, 61, 5};

// A device that most stories share: it has compiled its pipelines, which takes most of a story.
std::shared_ptr<Device> g_warm_device;

Result<std::shared_ptr<Device>> make_faulty_device() {
  return Device::create(test::vulkan_instance(), 0,
                        {.cache_folder = QUERN_VULKAN_CACHE, .patch = test::inject_faults});
}

Result<std::unique_ptr<kernels::Backend>> open_new_device(const std::string&) {
  QUERN_TRY(auto device, make_faulty_device());
  return kernels::vulkan::make_backend(std::move(device));
}

Result<std::unique_ptr<kernels::Backend>> open_warm_device(const std::string&) {
  if (!g_warm_device) {
    QUERN_TRY(g_warm_device, make_faulty_device());
  }
  return kernels::vulkan::make_backend(g_warm_device);
}

struct Story {
  std::vector<int32_t> tokens, other;  // of a session, and of one that was forked from it
  std::vector<std::string> said;
  uint32_t layers = 0;  // on the device in the end
};

// Loads, reads a prompt, answers, forks in between, and frees everything.
Result<Story> tell(EngineOptions options) {
  Story story;
  options.notice = [&](const std::string& sentence) { story.said.push_back(sentence); };
  const CancelToken never{false};
  QUERN_TRY(const auto engine,
            Engine::load(*gguf::File::open(test::own_golden("models/llama.gguf")), options));
  Session session(*engine, Sampler({.temperature = 0}), engine->vocabulary());
  QUERN_CHECK(session.prefill(kPrompt, never));
  for (size_t i = 0; i < kTokens / 2; ++i) QUERN_CHECK(session.decode(never));
  Session other = session.fork();
  for (size_t i = 0; i < kTokens / 2; ++i) {
    QUERN_CHECK(session.decode(never));
    QUERN_CHECK(other.decode(never));
  }
  story.tokens.assign(session.tokens().begin(), session.tokens().end());
  story.other.assign(other.tokens().begin(), other.tokens().end());
  const auto& warnings = engine->model().warnings;
  story.said.insert(story.said.begin(), warnings.begin(), warnings.end());
  story.layers = std::min(engine->options().placement.layers, engine->model().config.layers + 1);
  return story;
}

EngineOptions on_device(bool strict = false) {
  EngineOptions options{.threads = 1,
                        .context = 64,
                        .cache = kernels::CacheType::kF32,
                        .batch_rows = 8,
                        .sequences = 2,
                        .open_device = open_warm_device};
  options.placement = {.devices = {"vulkan:0"}, .rules = {}, .strict = strict};
  return options;
}

uint64_t bytes_on_device() { return test::vulkan_instance()->count(0).now(); }

// Runs `check` with the first, second, … fault (from `first` on every `stride`th) until the story
// no longer meets one; returns how many calls could fail.
template <typename Check>
int meet_faults(Fault fault, const EngineOptions& options, const Check& check, int first = 0,
                int stride = 1) {
  static_cast<void>(tell(options));  // compiles the warm device's pipelines
  const uint64_t before = bytes_on_device();
  for (int calls = first;; calls += stride) {
    SCOPED_TRACE(calls);
    test::arm_fault(fault, calls);
    const Result<Story> story = tell(options);
    const bool struck = test::fault_struck();
    test::arm_fault(Fault::kNone);
    EXPECT_EQ(bytes_on_device(), before);
    if (!struck) return calls;
    check(story);
  }
}

class VulkanEngineFaults : public ::testing::TestWithParam<Fault> {
 protected:
  static void TearDownTestSuite() { g_warm_device.reset(); }
};

// The story as the CPU tells it.
Story expected_story() {
  EngineOptions cpu = on_device();
  cpu.placement = {};
  const Result<Story> story = tell(cpu);
  EXPECT_TRUE(story);
  EXPECT_EQ(story->tokens, story->other);
  return *story;
}

void expect_equal(const Result<Story>& story, const Story& expected) {
  ASSERT_TRUE(story) << story.error().to_string();
  EXPECT_EQ(story->tokens, expected.tokens);
  EXPECT_EQ(story->other, expected.tokens);
  EXPECT_LE(story->said.size(), 1u);
}

TEST_P(VulkanEngineFaults, leaveTheAnswerToTheCpu) {
  const Story expected = expected_story();
  int silent = 0;
  const int faults = meet_faults(GetParam(), on_device(), [&](const Result<Story>& story) {
    expect_equal(story, expected);
    if (!story) return;
    silent += story->said.empty();
    // One failed allocation costs a few layers while loading; a lost device, all.
    if (GetParam() == Fault::kLost && !story->said.empty()) {
      EXPECT_EQ(story->layers, 0u);
    }
  });
  EXPECT_GE(faults, 20);
  EXPECT_LE(silent, 1);  // when nothing but the end is left to do
}

TEST_P(VulkanEngineFaults, areErrorsWhenStrict) {
  const std::string code = GetParam() == Fault::kLost ? "device-lost" : "device-memory";
  int finished = 0;
  const int faults = meet_faults(GetParam(), on_device(true), [&](const Result<Story>& story) {
    if (story) {
      ++finished;
    } else {
      EXPECT_EQ(story.error().code, code);
    }
  });
  EXPECT_GE(faults, 20);
  EXPECT_LE(finished, 1);
}

// Those of a device that must compile its pipelines, a sample: at each call in turn, faults_test
// does it to a device alone.
TEST(VulkanEngineStart, survivesFaultsWhilePipelinesAreCompiled) {
#if defined(__SANITIZE_ADDRESS__)
  constexpr int kStride = 24;
#else
  constexpr int kStride = 6;
#endif
  const Story expected = expected_story();
  EngineOptions options = on_device();
  options.open_device = open_new_device;
  const int calls = meet_faults(
      Fault::kNoMemory, options, [&](const Result<Story>& story) { expect_equal(story, expected); },
      0, kStride);
  EXPECT_GE(calls, 60);
  options.placement.strict = true;
  meet_faults(
      Fault::kNoMemory, options,
      [&](const Result<Story>& story) {
        EXPECT_EQ(story ? "no error" : story.error().code, "device-memory");
      },
      kStride / 2, kStride);
}

INSTANTIATE_TEST_SUITE_P(Kinds, VulkanEngineFaults,
                         ::testing::Values(Fault::kNoMemory, Fault::kLost), [](const auto& test) {
                           return test.param == Fault::kLost ? "lost" : "noMemory";
                         });

TEST(VulkanEngineLoad, aDeviceWithoutMemoryWhileLoadingKeepsFewerLayers) {
  test::arm_fault(Fault::kNoMemory, 20);
  const Result<Story> story = tell(on_device());
  EXPECT_TRUE(test::fault_struck());
  test::arm_fault(Fault::kNone);
  ASSERT_TRUE(story) << story.error().to_string();
  EXPECT_GT(story->layers, 0u);
  ASSERT_EQ(story->said.size(), 1u);
  EXPECT_NE(story->said[0].find("layers on devices"), std::string::npos) << story->said[0];
}

}  // namespace
}  // namespace quern::engine

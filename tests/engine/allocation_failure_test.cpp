// Memory that runs out: whichever allocation fails, there is one line and no leak. operator new is
// replaced, calloc and mmap are wrapped by the linker (tests/CMakeLists.txt).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

#include "engine/chat_template.h"
#include "engine/memory_plan.h"
#include "engine/session.h"
#include "engine/tokenizer/tokenizer.h"
#include "gguf/exceptions.h"

namespace {

std::atomic<int64_t> until_failure{0};  // allocations; 0: none fails
std::atomic<int64_t> made{0}, live{0};  // live: of operator new

bool fails() {
  made.fetch_add(1, std::memory_order_relaxed);
  return until_failure.load(std::memory_order_relaxed) > 0 &&
         until_failure.fetch_sub(1, std::memory_order_relaxed) == 1;
}

}  // namespace

// Not inline: g++ takes an inlined pair for malloc with delete.
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  void* memory = fails() ? nullptr : std::malloc(size > 0 ? size : 1);
  if (memory) live.fetch_add(1, std::memory_order_relaxed);
  return memory;
}
[[gnu::noinline]] void* operator new(size_t size) {
  void* memory = operator new(size, std::nothrow);
  if (!memory) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  if (memory) live.fetch_sub(1, std::memory_order_relaxed);
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

extern "C" {
void* __real_calloc(size_t count, size_t size);
void* __wrap_calloc(size_t count, size_t size) {
  return fails() ? nullptr : __real_calloc(count, size);
}
void* __real_mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset);
void* __wrap_mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset) {
  if (!fails()) return __real_mmap(address, size, protection, flags, fd, offset);
  errno = ENOMEM;
  return MAP_FAILED;
}
}

namespace quern::engine {
namespace {

// A conversation with a tool's call, whose arguments are JSON text. Its JSON is the caller's, who
// makes it once.
const std::vector<Message>& conversation() {
  static const nlohmann::ordered_json arguments = {{"numbers", {1, 2.5, nullptr}},
                                                   {"deep", {{"x", true}}}};
  static const std::vector<Message> messages = {
      {"user", "Hello!"},
      {"assistant",
       "",
       {{"tool_calls", {{{"function", {{"name", "add"}, {"arguments", arguments.dump()}}}}}}}},
      {"user", "And now?"}};
  return messages;
}

Result<std::vector<int32_t>> chat_prompt(const gguf::File& file, const Tokenizer& tokenizer) {
  QUERN_TRY(const ChatTemplate chat, ChatTemplate::from_file(file, tokenizer));
  QUERN_TRY(const std::string text, chat.render(conversation()));
  return tokenizer.encode_rendered(text);
}

// Loads the bundled model with its chat template, plans, computes a prompt and 8 tokens, and frees
// everything.
Status run() {
  QUERN_TRY(gguf::File file,
            gguf::File::open(QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf"));
  QUERN_TRY(const Tokenizer tokenizer, Tokenizer::from_file(file));
  QUERN_TRY(const std::vector<int32_t> prompt, chat_prompt(file, tokenizer));
  QUERN_TRY(const Model model, read_model(file));
  const EngineOptions options{.threads = 2, .context = 64, .batch_rows = 8};
  QUERN_CHECK(catch_exceptions([&] { return plan_memory(file, model, options); }));
  QUERN_TRY(const auto engine, Engine::load(std::move(file), options));
  Session session(*engine, Sampler(), engine->vocabulary());
  const CancelToken never{false};
  QUERN_CHECK(session.prefill(prompt, never));
  for (int i = 0; i < 8; ++i) QUERN_CHECK(session.decode(never));
  return {};
}

// The same, with the nth allocation failing; 0: none.
Status run_failing(int64_t nth) {
  until_failure = nth;
  Status status = catch_exceptions(run);
  until_failure = 0;
  return status;
}

TEST(AllocationFailure, isOneLineAndNoLeakWhereverItHappens) {
  ASSERT_TRUE(run_failing(0));  // what is made once and kept
  const int64_t before = made;
  ASSERT_TRUE(run_failing(0));
  const int64_t all = made - before;
  ASSERT_GT(all, 1000);

  constexpr int64_t kFirst = 500, kSampled = 500;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr int64_t kStep =
      20;  // a sanitizer is ten times slower, and looks at every run as closely
#else
  constexpr int64_t kStep = 1;
#endif
  int refused = 0;
  for (int64_t i = 1; i <= kFirst + kSampled; i += kStep) {
    const int64_t nth = i <= kFirst ? i : kFirst + (i - kFirst) * (all - kFirst) / kSampled;
    const int64_t live_before = live;
    {
      const Status status = run_failing(nth);
      refused += !status;
      if (!status) {
        EXPECT_THAT(status.error().to_string(), testing::Not(testing::HasSubstr("\n"))) << nth;
        EXPECT_EQ(status.error().kind, ErrorKind::kFailure) << status.error().to_string();
      }
    }
    ASSERT_EQ(live, live_before) << "after the failure of allocation " << nth;
  }
  EXPECT_GT(refused, (kFirst + kSampled) / kStep / 2);
}

TEST(CancelledLoad, leavesNothing) {
  ASSERT_TRUE(run_failing(0));  // what is made once and kept
  for (const int last : {1, 5, 10, 20, 30}) {
    const int64_t live_before = live;
    {
      int told = 0;
      const EngineOptions options{
          .threads = 2, .context = 64, .progress = [&](double) { return ++told < last; }};
      const auto engine = Engine::load(
          *gguf::File::open(QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf"), options);
      ASSERT_FALSE(engine);
      EXPECT_EQ(engine.error().kind, ErrorKind::kCancelled);
    }
    EXPECT_EQ(live, live_before) << "stopped when told for the " << last << "th time";
  }
}

}  // namespace
}  // namespace quern::engine

// A model file that is truncated while the engine uses it.
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/session.h"
#include "tests/temporary_folder.h"

namespace quern::engine {
namespace {

TEST(ChangedFile, endsTheRequestWithAnError) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("model.gguf");
  std::filesystem::copy_file(QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf", path);
  const auto engine = *Engine::load(*gguf::File::open(path), {.threads = 2, .context = 64});
  Session session(*engine, Sampler(), engine->vocabulary());
  const CancelToken never{false};
  ASSERT_TRUE(session.prefill(std::vector<int32_t>{1, 2, 3}, never));
  std::filesystem::resize_file(path, 100'000);
  const auto token = session.decode(never);  // its logits are those of the prompt
  ASSERT_TRUE(token);
  const auto next = session.decode(never);
  ASSERT_FALSE(next);
  EXPECT_EQ(next.error().code, "file-changed");
  EXPECT_EQ(next.error().path, path);
}

}  // namespace
}  // namespace quern::engine

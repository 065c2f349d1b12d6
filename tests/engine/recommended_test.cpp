#include "engine/sampler/recommended.h"

#include <gtest/gtest.h>

#include "gguf/writer.h"

namespace quern::engine {
namespace {

TEST(Recommended, takesWhatTheFileSaysAndWarnsAboutTheRest) {
  gguf::Writer writer;
  writer.set("general.architecture", std::string("llama"));
  writer.set("general.sampling.temp", 0.6f);
  writer.set("general.sampling.top_k", int32_t{20});
  writer.set("general.sampling.penalty_repeat", 1.25f);
  writer.set("general.sampling.penalty_last_n", int32_t{-1});
  writer.set("general.sampling.top_p", 1.5f);
  writer.set("general.sampling.min_p", std::string("much"));
  writer.set("general.sampling.mirostat", int32_t{1});
  const auto bytes = writer.bytes();
  ASSERT_TRUE(bytes);
  const auto file = gguf::File::from_bytes(*bytes, "test");
  ASSERT_TRUE(file) << file.error().to_string();

  SamplerOptions options;
  const auto warnings = apply_recommended(options, *file);
  EXPECT_EQ(options.temperature, 0.6f);
  EXPECT_EQ(options.top_k, 20);
  EXPECT_EQ(options.repeat_penalty, 1.25f);
  EXPECT_EQ(options.penalty_last_n, -1);
  EXPECT_EQ(options.top_p, SamplerOptions{}.top_p);
  EXPECT_EQ(options.min_p, SamplerOptions{}.min_p);
  EXPECT_EQ(options.mirostat, 0);
  ASSERT_EQ(warnings.size(), 3u);
  EXPECT_NE(warnings[0].find("general.sampling.top_p"), std::string::npos);
}

}  // namespace
}  // namespace quern::engine

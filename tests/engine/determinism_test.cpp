// The same tokens give the same logits to the bit, however the work is divided.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>
#include <random>
#include <sstream>

#include "engine/engine.h"
#include "engine/synthetic_model.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/golden_path.h"
#include "tests/temporary_folder.h"

namespace quern::engine {
namespace {

using kernels::CacheType;

constexpr CacheType kCacheTypes[] = {CacheType::kF32, CacheType::kF16, CacheType::kQ8_0};

std::unique_ptr<Engine> load(const std::string& path, size_t tokens, size_t threads, uint32_t chunk,
                             CacheType cache) {
  auto file = gguf::File::open(path);
  EXPECT_TRUE(file) << file.error().to_string();
  auto engine = Engine::load(std::move(*file), {.threads = threads,
                                                .context = static_cast<uint32_t>(tokens),
                                                .cache = cache,
                                                .batch_rows = chunk,
                                                .logit_rows = chunk});
  EXPECT_TRUE(engine) << engine.error().to_string();
  return std::move(*engine);
}

// A digest of the bits of all logits: two runs agree only if every bit does.
uint64_t digest(const std::string& path, const std::vector<int32_t>& tokens, size_t threads,
                uint32_t chunk, CacheType cache) {
  const auto engine = load(path, tokens.size(), threads, chunk, cache);
  Sequence sequence = engine->new_sequence();
  const CancelToken never{false};
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  while (sequence.length() < tokens.size()) {
    std::vector<Row> rows;
    for (size_t i = sequence.length(); i < tokens.size() && rows.size() < chunk; ++i) {
      rows.push_back({&sequence, tokens[i], true});
    }
    const auto logits = engine->step(rows, never);
    EXPECT_TRUE(logits) << logits.error().to_string();
    for (const float value : *logits) {
      EXPECT_TRUE(std::isfinite(value));
      hash = (hash ^ std::bit_cast<uint32_t>(value)) * 1099511628211u;
    }
  }
  return hash;
}

void expect_equal_for_every_split(const std::string& path, const std::vector<int32_t>& tokens) {
  for (const CacheType cache : kCacheTypes) {
    const uint64_t expected = digest(path, tokens, 1, 512, cache);
    for (const size_t threads : {1, 2}) {
      for (const uint32_t chunk : {1u, 7u, 64u, 512u}) {
        EXPECT_EQ(digest(path, tokens, threads, chunk, cache), expected)
            << "threads " << threads << ", chunk " << chunk << ", cache "
            << static_cast<int>(cache);
      }
    }
  }
}

TEST(DeterminismSlow, bundledModelOnFourHundredTokensOfText) {
  const std::string path = std::string(QUERN_SOURCE_DIR) + "/models/quern-tiny-stories-Q4_K_M.gguf";
  const auto file = gguf::File::open(path);
  ASSERT_TRUE(file) << file.error().to_string();
  const auto tokenizer = Tokenizer::from_file(*file);
  ASSERT_TRUE(tokenizer) << tokenizer.error().to_string();
  std::ostringstream text;
  text << std::ifstream(test::own_golden("validation.txt")).rdbuf();
  std::vector<int32_t> tokens = tokenizer->encode(text.str(), true, false);
  ASSERT_GE(tokens.size(), 400u);
  tokens.resize(400);
  expect_equal_for_every_split(path, tokens);
}

constexpr uint32_t kSeed = 20;

std::string write_synthetic_model(const SyntheticShape& shape,
                                  const test::TemporaryFolder& folder) {
  const std::string path = folder.file("model.gguf");
  const Status written = synthetic_model(shape, *find_mix("Q4_K_M"), kSeed).write(path);
  EXPECT_TRUE(written) << written.error().to_string();
  return path;
}

// Random tokens through a seeded random model.
void expect_equal_on_synthetic_model(std::string_view shape_name, size_t count) {
  const test::TemporaryFolder folder;
  const SyntheticShape& shape = *find_synthetic_shape(shape_name);
  std::mt19937 random(kSeed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % shape.vocabulary);
  expect_equal_for_every_split(write_synthetic_model(shape, folder), tokens);
}

// Crosses two borders between granules of 512 positions.
TEST(DeterminismSlow, seededModelOnFifteenHundredTokens) {
  expect_equal_on_synthetic_model("tiny", 1500);
}

// Steps that pack between them, and one that packs no more.
constexpr size_t kSteps = 20;

std::vector<float> logits_of_steps(const std::string& path, bool pack_while_running) {
  const auto engine =
      Engine::load(*gguf::File::open(path),
                   {.threads = 2, .context = 64, .pack_while_running = pack_while_running});
  EXPECT_TRUE(engine) << engine.error().to_string();
  EXPECT_EQ((*engine)->bytes_to_pack() > 0, pack_while_running);
  Sequence sequence = (*engine)->new_sequence();
  const CancelToken never{false};
  std::vector<float> all;
  for (size_t i = 0; i < kSteps; ++i) {
    const Row row{&sequence, static_cast<int32_t>(7 * i % 96), true};
    const auto logits = (*engine)->step({&row, 1}, never);
    EXPECT_TRUE(logits) << logits.error().to_string();
    all.insert(all.end(), logits->begin(), logits->end());
  }
  EXPECT_EQ((*engine)->bytes_to_pack(), 0);
  return all;
}

TEST(Determinism, whetherWeightsArePackedAtLoadOrWhileItRuns) {
  for (const char* shape : {"tiny", "tiny-hybrid", "tiny-moe"}) {
    const test::TemporaryFolder folder;
    const std::string path = write_synthetic_model(*find_synthetic_shape(shape), folder);
    EXPECT_EQ(logits_of_steps(path, true), logits_of_steps(path, false)) << shape;
  }
}

TEST(Determinism, seededHybrid) { expect_equal_on_synthetic_model("tiny-hybrid", 100); }

TEST(Determinism, seededMixtureOfExperts) { expect_equal_on_synthetic_model("tiny-moe", 100); }

}  // namespace
}  // namespace quern::engine

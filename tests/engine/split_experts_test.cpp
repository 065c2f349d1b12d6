// Old Mixtral files have one tensor per expert: they compute what files with stacked experts do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/memory_plan.h"
#include "engine/mix.h"
#include "engine/requantize.h"
#include "gguf/writer.h"
#include "tests/golden_model.h"
#include "tests/temporary_folder.h"

namespace quern::engine {
namespace {

using gguf::Writer;
using testing::HasSubstr;

constexpr const char* kModel = "models/llama-moe";

std::string golden_path() { return test::own_golden(std::string(kModel) + ".gguf"); }

// The golden model in a format that is packed.
void write_quantized(const std::string& path) {
  const auto file = gguf::File::open(golden_path());
  ASSERT_TRUE(file) << file.error().to_string();
  const Mix& mix = *find_mix("Q8_0");
  const auto plan = plan_formats(*file, mix, {}, false);
  ASSERT_TRUE(plan) << plan.error().to_string();
  ASSERT_TRUE(requantize(*file, *plan, {.mix = &mix, .threads = 2}, path));
}

// `source` as an old file: blk.L.ffn_gate_exps.weight becomes blk.L.ffn_gate.E.weight and
// so on, the experts in turn as old converters wrote them. A tensor named `without` is left out,
// one named `damaged` gets another type.
void write_old(const std::string& source, const std::string& path, std::string_view without = {},
               std::string_view damaged = {}) {
  const auto file = gguf::File::open(source);
  ASSERT_TRUE(file) << file.error().to_string();
  Writer writer;
  for (const gguf::MetadataEntry& entry : file->metadata()) writer.copy(entry);
  const auto add = [&](const std::string& name, const gguf::TensorView& tensor,
                       std::vector<uint64_t> shape, std::span<const std::byte> bytes) {
    if (name == without) return;
    if (name == damaged) {
      uint64_t values = 1;
      for (const uint64_t size : shape) values *= size;
      const bool is_f32 = tensor.format == gguf::Format::F32;
      return writer.add_tensor(name, is_f32 ? gguf::Format::F16 : gguf::Format::F32, shape,
                               std::vector<std::byte>(values * (is_f32 ? 2 : 4)));
    }
    writer.add_tensor(name, tensor.format, shape, {bytes.begin(), bytes.end()});
  };
  size_t split = 0;
  for (const gguf::TensorView& tensor : file->tensors()) {
    const std::string name(tensor.name);
    const size_t at = name.find("_exps.weight");
    if (at == name.npos) {
      add(name, tensor, {tensor.shape.begin(), tensor.shape.begin() + tensor.dims}, tensor.bytes);
      continue;
    }
    ++split;
    const size_t size = tensor.bytes.size() / tensor.shape[2];
    for (uint64_t expert = 0; expert < tensor.shape[2]; ++expert) {
      add(name.substr(0, at) + "." + std::to_string(expert) + ".weight", tensor,
          {tensor.shape[0], tensor.shape[1]}, tensor.bytes.subspan(expert * size, size));
    }
  }
  ASSERT_GE(split, 3U);
  const auto written = writer.write(path);
  ASSERT_TRUE(written) << written.error().to_string();
}

EngineOptions options() {
  return {.threads = 2,
          .context = 64,
          .cache = kernels::CacheType::kF32,
          .batch_rows = 64,
          .logit_rows = 64};
}

std::vector<float> logits_of(const std::string& path, const EngineOptions& with) {
  const test::GoldenModel golden = test::golden_model(kModel);
  const auto engine = test::load_engine(path, with);
  Sequence sequence = engine->new_sequence();
  return test::run(*engine, sequence, golden.tokens, 7);
}

TEST(SplitExperts, computeWhatStackedExpertsDo) {
  const test::TemporaryFolder folder;
  const std::string old = folder.file("old.gguf"), quantized = folder.file("quantized.gguf");
  write_quantized(quantized);
  for (const std::string& stacked : {golden_path(), quantized}) {
    write_old(stacked, old);
    for (const auto home : {kernels::WeightHome::kPacked, kernels::WeightHome::kMapped}) {
      EngineOptions with = options();
      with.weights = home;
      EXPECT_EQ(logits_of(old, with), logits_of(stacked, with));
      with.placement = {.devices = {"reference"}, .layers = 1, .rules = {}};
      EXPECT_EQ(logits_of(old, with), logits_of(stacked, with));
    }
  }
}

// Every expert gets the format and the bytes that it has in a stack, also where the rules of a mix
// count tensors, and with importance data, which name the stack.
TEST(SplitExperts, areQuantizedAsStackedExpertsAre) {
  const test::TemporaryFolder folder;
  const std::string old = folder.file("old.gguf"), path = folder.file("quantized.gguf");
  write_old(golden_path(), old);
  const auto stacked = gguf::File::open(golden_path()), split = gguf::File::open(old);
  ASSERT_TRUE(stacked && split);
  Importance importance;
  for (const gguf::TensorView& tensor : stacked->tensors()) {
    Importance::Sums sums{tensor.shape[0], {}, std::vector<float>(tensor.shape[2], 1)};
    for (uint64_t i = 0; i < tensor.shape[0] * tensor.shape[2]; ++i) {
      sums.squares.push_back(static_cast<float>(1 + i * 7 % 13));
    }
    if (tensor.dims > 1) importance.tensors.emplace(tensor.name, std::move(sums));
  }
  for (const char* name : {"Q8_0", "Q4_0", "Q5_1"}) {
    for (const Importance* data :
         {static_cast<const Importance*>(nullptr), &std::as_const(importance)}) {
      const Mix& mix = *find_mix(name);
      const RequantizeOptions with{.mix = &mix, .importance = data, .threads = 2};
      const auto expected_plan = plan_formats(*stacked, mix, {}, data != nullptr);
      const auto plan = plan_formats(*split, mix, {}, data != nullptr);
      ASSERT_TRUE(expected_plan && plan);
      const auto expected_path = folder.file("expected.gguf");
      ASSERT_TRUE(requantize(*stacked, *expected_plan, with, expected_path));
      ASSERT_TRUE(requantize(*split, *plan, with, path));
      EXPECT_EQ(logits_of(path, options()), logits_of(expected_path, options())) << name;
    }
  }
}

// Importance data name the stack, as those of other files do.
TEST(SplitExperts, areCollectedUnderTheNamesThatTheQuantizerReads) {
  const test::TemporaryFolder folder;
  const std::string old = folder.file("old.gguf");
  write_old(golden_path(), old);
  const auto names = [](const std::string& path) {
    const auto engine = test::load_engine(path, options());
    ImportanceCollector collector(engine->model().weights);
    engine->observe_inputs([&](std::string_view weight, size_t expert, std::span<const float> rows,
                               size_t values) { collector.add(weight, expert, rows, values); });
    Sequence sequence = engine->new_sequence();
    test::run(*engine, sequence, {1, 2, 3, 4, 5, 6, 7, 8}, 8);
    std::vector<std::string> all;
    for (const auto& [name, sums] : collector.result().tensors) all.push_back(name);
    return all;
  };
  EXPECT_THAT(names(old), testing::Contains("blk.0.ffn_up_exps.weight"));
  EXPECT_EQ(names(old), names(golden_path()));
}

TEST(SplitExperts, takeTheFormatsOfOverridesTogetherOrNotAtAll) {
  const test::TemporaryFolder folder;
  const std::string old = folder.file("old.gguf");
  write_old(golden_path(), old);
  const auto file = gguf::File::open(old);
  ASSERT_TRUE(file);
  const Mix& mix = *find_mix("Q8_0");
  const auto plan = [&](const char* pattern) {
    return plan_formats(*file, mix, {{{pattern, gguf::Format::Q4_0}}}, false);
  };
  for (const char* pattern : {"blk.1.ffn_up_exps.weight", "blk.1.ffn_up.*"}) {
    const auto all = plan(pattern);
    ASSERT_TRUE(all) << all.error().to_string();
    for (const TensorPlan& entry : *all) {
      const bool is_up = entry.tensor->name.starts_with("blk.1.ffn_up.");
      EXPECT_EQ(entry.format == gguf::Format::Q4_0, is_up) << entry.tensor->name;
    }
  }
  const auto some = plan("blk.1.ffn_up.2.weight");
  ASSERT_FALSE(some);
  EXPECT_EQ(some.error().code, "quantize-experts");
  EXPECT_THAT(some.error().message, HasSubstr("blk.1.ffn_up.2.weight"));
}

TEST(SplitExperts, areRefusedWhereOneIsMissingOrDiffers) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("old.gguf");
  const auto refused = [&](const char* code, const char* named) {
    const auto file = gguf::File::open(path);
    ASSERT_TRUE(file) << file.error().to_string();
    const auto model = read_model(*file);
    ASSERT_FALSE(model);
    EXPECT_EQ(model.error().code, code);
    EXPECT_THAT(model.error().message, HasSubstr(named));
  };
  write_old(golden_path(), path, "blk.0.ffn_up.1.weight");
  refused("tensor-missing", "blk.0.ffn_up.1.weight");
  write_old(golden_path(), path, {}, "blk.1.ffn_down.2.weight");
  refused("tensor-shape", "blk.1.ffn_down.2.weight");
}

// Copies are memory that the system cannot drop, unless they are packed, which frees them.
TEST(SplitExperts, areCountedByTheMemoryPlan) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("old.gguf");
  write_old(golden_path(), path);
  const auto file = gguf::File::open(path);
  ASSERT_TRUE(file);
  const auto model = read_model(*file);
  ASSERT_TRUE(model) << model.error().to_string();
  uint64_t experts = 0;
  for (const gguf::TensorView& tensor : file->tensors()) {
    const bool is_expert = std::ranges::count(tensor.name, '.') == 4;  // blk.L.ffn_X.E.weight
    experts += is_expert ? tensor.bytes.size() : 0;
  }
  ASSERT_GT(experts, 0U);
  EngineOptions with = options();
  with.weights = kernels::WeightHome::kMapped;
  const auto plan = plan_memory(*file, *model, with);
  ASSERT_TRUE(plan) << plan.error().to_string();
  EXPECT_EQ(plan->heaps[0].bytes("stacked weights"), experts);
}

}  // namespace
}  // namespace quern::engine

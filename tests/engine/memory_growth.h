// Memory that a process takes for a model, beside what was planned: what tests of the plan share.
#pragma once

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "engine/memory_plan.h"
#include "engine/session.h"
#include "engine/synthetic_model.h"
#include "engine/tokenizer/tokenizer.h"
#include "kernels/system_memory.h"

namespace quern::test {

// Much cache for few weights.
inline constexpr engine::SyntheticShape kWide = {"wide", "llama", 8,  64,   64,   8,
                                                 8,      128,     96, 4096, 10000};

struct Configuration {
  std::string_view shape, mix;
  uint32_t context;
  kernels::CacheType cache = kernels::CacheType::kF16;
  uint32_t batch = 512, sequences = 1;
  size_t threads = 2;
  const char* tokenizer = "no_vocab";
  uint32_t tokens = 0;  // of a made-up vocabulary
  bool fill = false;    // the whole context instead of one step of it
  kernels::WeightHome weights = kernels::WeightHome::kPacked;
  uint32_t moved = 0;  // layers on the device
  std::string_view device = engine::kReferenceDevice;
};

inline void PrintTo(const Configuration& c, std::ostream* out) {
  *out << c.shape << ' ' << c.mix << " ctx " << c.context << " kv " << static_cast<int>(c.cache)
       << " batch " << c.batch << " x" << c.sequences << " threads " << c.threads << ' '
       << c.tokenizer << ' ' << c.tokens
       << (c.weights == kernels::WeightHome::kMapped ? " mapped" : "") << " moved " << c.moved
       << " to " << c.device;
}

// Numbers in a system of 26 four-letter digits, so that most are longer than a std::string holds
// itself; each merges from its first digits and its last one. Some are special.
inline void add_vocabulary(gguf::Writer& writer, const char* model, uint32_t count) {
  std::vector<std::string> tokens, merges;
  std::vector<int32_t> types;
  for (uint32_t i = 0; i < count; ++i) {
    const std::string digit = "dig" + std::string(1, static_cast<char>('a' + i % 26));
    const bool one_digit = i < 26;
    tokens.push_back(one_digit ? digit : tokens[i / 26 - 1] + digit);
    if (!one_digit) merges.push_back(tokens[i / 26 - 1] + " " + digit);
    types.push_back(i % 500 == 0 ? 3 : 1);
  }
  writer.set("tokenizer.ggml.model", gguf::Writer::Scalar(std::string(model)));
  writer.set("tokenizer.ggml.pre", gguf::Writer::Scalar(std::string("llama-bpe")));
  writer.set("tokenizer.ggml.tokens", gguf::Writer::Array(tokens));
  writer.set("tokenizer.ggml.token_type", gguf::Writer::Array(types));
  writer.set("tokenizer.ggml.merges", gguf::Writer::Array(merges));
}

inline gguf::File model_of(const Configuration& c) {
  const engine::SyntheticShape& shape =
      c.shape == "wide" ? kWide : *engine::find_synthetic_shape(c.shape);
  gguf::Writer writer = synthetic_model(shape, *engine::find_mix(c.mix), 1);
  if (c.tokens > 0) add_vocabulary(writer, c.tokenizer, c.tokens);
  return *writer.outline("model");
}

inline engine::EngineOptions options_of(const Configuration& c) {
  engine::EngineOptions options{.threads = c.threads,
                                .context = c.context,
                                .cache = c.cache,
                                .batch_rows = c.batch,
                                .sequences = c.sequences,
                                .weights = c.weights,
                                .check_weights = false};
  if (c.moved > 0) {
    options.placement = {.devices = {std::string(c.device)}, .layers = c.moved, .rules = {}};
  }
  return options;
}

// Bytes beyond what the process had before, devices in the host's memory included: planned without
// the process's own base, allocated, and resident.
struct Growth {
  uint64_t peak = 0, steady = 0;  // planned: at most, and without a long prompt
  uint64_t used = 0;              // planned, as far as the test uses it
  uint64_t untouched = 0;         // of that, devices' at most that nothing was written to
  uint64_t allocated = 0, resident = 0;
  uint64_t device = 0, device_taken = 0;  // of that, planned and by the device's own count
};

inline uint64_t allocated() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// The plan's part, for sessions that each read a prompt and 2 tokens.
inline Growth planned_growth(const engine::MemoryPlan& plan, const engine::Model& model,
                             uint32_t prompt) {
  Growth growth;
  const uint32_t sequences = plan.options.sequences, batch = plan.options.batch_rows;
  const uint64_t blocks = (prompt + 2 + kernels::kBlockPositions - 1) / kernels::kBlockPositions;
  const engine::Use use{blocks * sequences, prompt + 2, std::min(prompt, batch),
                        uint64_t{sequences} * (prompt / batch + 3)};
  growth.used = *used_bytes(model, plan, use) - plan.host().bytes("process");
  for (const engine::HeapPlan& heap : plan.heaps) {
    const uint64_t device = heap.bytes(engine::Backing::kDevice);
    const uint64_t anonymous = heap.bytes(engine::Backing::kAnonymous);
    const bool host = &heap == &plan.host();
    growth.peak += device + anonymous - heap.bytes("process");
    growth.steady += device + anonymous - heap.bytes("process") - (heap.peak() - heap.steady());
    growth.device += device;
    growth.used += host ? 0 : device + anonymous;
    growth.untouched += device - (device > 0 ? heap.bytes("weights") : 0);
  }
  return growth;
}

struct DeviceUse {
  std::vector<engine::DeviceProfile> profiles;
  std::function<uint64_t()> bytes = [] { return uint64_t{0}; };  // by its own count, now
};

// Loads the model, computes a prompt and 2 tokens in each session.
inline Growth measure(const Configuration& c, const engine::EngineOptions& options,
                      const DeviceUse& device = {}) {
  ::malloc_trim(0);  // free memory of earlier tests would be used again and not show as growth
  const uint64_t before = allocated(), resident = kernels::memory_usage()->anonymous;
  const uint64_t on_device = device.bytes();
  gguf::File file = model_of(c);
  ::malloc_trim(0);  // what the writer of the model took
  const auto header =
      static_cast<uint64_t>(file.tensors()[0].bytes.data() - file.parts()[0].bytes.data());
  const auto model = engine::read_model(file);
  const auto access = gguf::OpenOptions::Access::kMap;
  const engine::MemoryPlan plan = *plan_memory(file, *model, options, access, device.profiles);
  const auto tokenizer = engine::Tokenizer::from_file(file);
  EXPECT_TRUE(tokenizer);
  const auto engine = engine::Engine::load(std::move(file), options);
  EXPECT_TRUE(engine) << engine.error().to_string();
  std::vector<engine::Session> sessions;
  const engine::CancelToken never{false};
  const uint32_t prompt = c.fill ? c.context - 8 : std::min({c.batch, c.context / 2, 48u});
  for (uint32_t i = 0; i < c.sequences; ++i) {
    sessions.emplace_back(**engine, engine::Sampler({.temperature = 0.5f, .top_k = 0}),
                          (*engine)->vocabulary());
    EXPECT_TRUE(sessions[i].prefill(std::vector<int32_t>(prompt, 1), never));
    for (int k = 0; k < 2; ++k) EXPECT_TRUE(sessions[i].decode(never));
  }
  Growth growth = planned_growth(plan, *model, prompt);
  // malloc does not know of packed weights.
  growth.allocated = allocated() - before + plan.host().bytes("packed weights");
  growth.resident = kernels::memory_usage()->anonymous - resident - header;
  growth.device_taken = device.bytes() - on_device;
  if (c.fill) growth.untouched = 0;
  return growth;
}

// Never above the plan, and within 2 % or 8 MiB of it.
inline void expect_as_planned(const Growth& growth, bool fill) {
  constexpr uint64_t kLeast = 8 << 20;
  const uint64_t tolerance = std::max(growth.peak / 50, kLeast);
  EXPECT_LE(growth.allocated, growth.peak);
  EXPECT_GE(growth.allocated + tolerance, growth.steady);
  EXPECT_LE(growth.resident, growth.used);
  EXPECT_LE(growth.used, growth.peak);
  EXPECT_GE(growth.resident + growth.untouched + std::max(growth.used / 50, kLeast), growth.used);
  if (fill) {
    EXPECT_GE(growth.resident + tolerance, growth.steady);
  }
}

}  // namespace quern::test

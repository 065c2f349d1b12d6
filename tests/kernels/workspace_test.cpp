// The workspace: parts that do not overlap, sizes that are exact and do not wrap.
#include "kernels/cpu/workspace.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/cpu/activations.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/linear.h"
#include "tests/kernels/small_program.h"

namespace quern::kernels::cpu {
namespace {

using gguf::Format;

struct Region {
  const char* name;
  size_t start, bytes;
};

// In ascending order, aligned, one after the other, the last one inside `total`.
void expect_apart(std::vector<Region> parts, size_t total) {
  std::ranges::sort(parts, {},
                    [](const Region& part) { return std::pair(part.start, part.bytes); });
  for (size_t i = 0; i < parts.size(); ++i) {
    const size_t end = i + 1 < parts.size() ? parts[i + 1].start : total;
    EXPECT_EQ(parts[i].start % 64, 0u) << parts[i].name;
    EXPECT_LE(parts[i].start, total) << parts[i].name;
    EXPECT_LE(parts[i].bytes, end - parts[i].start) << parts[i].name;
  }
}

// A layer of every kind of operation; never run.
Program mixed_program() {
  Program p;
  p.weights = {{"table", Format::Q8_0, {96, 50, 1, 1}}, {"norm", Format::F32, {96, 1, 1, 1}},
               {"qkv", Format::Q4_K, {256, 96, 1, 1}},  {"bias", Format::F32, {96, 1, 1, 1}},
               {"router", Format::F32, {96, 7, 1, 1}},  {"gate", Format::Q8_0, {96, 160, 7, 1}},
               {"down", Format::Q8_0, {160, 96, 7, 1}}};
  const ValueId x = p.add_value(96), wide = p.add_value(256), odd = p.add_value(37);
  const ValueId chosen = p.add_value(96, ValueInfo::Rows::kLogits);
  const ValueId logits = p.add_value(50, ValueInfo::Rows::kLogits);
  p.ropes = {{{1, 2, 3, 4, 5}, 1, Rope::Pairs::kHalves}, {{1}, 1, Rope::Pairs::kHalves}};
  p.layers = {{6, 2, 80, 48}, {1, 1, 16, 16}};
  p.ops = {Embed{0, x},
           Projection{.in = x, .norm = {1, 1e-5f}, .outputs = {{.weight = 0, .out = odd}}},
           Projection{.in = wide, .norm = {}, .outputs = {{.weight = 2, .bias = 3, .out = x}}},
           Experts{.in = x,
                   .norm = {1, 1e-5f},
                   .router = 4,
                   .gate = 5,
                   .up = 5,
                   .down = 6,
                   .used = 3,
                   .out = x,
                   .add = x},
           SelectLogitRows{x, chosen},
           Projection{.in = chosen, .norm = {}, .outputs = {{.weight = 0, .out = logits}}}};
  return p;
}

TEST(Workspace, partsDoNotOverlapAndHoldWhatTheyAreFor) {
  const Program p = mixed_program();
  for (const MaxBatch& max : {MaxBatch{1, 1, 1}, MaxBatch{33, 5, 1500}, MaxBatch{700, 700, 64}}) {
    for (const size_t threads : {1, 3}) {
      const Workspace w(p, max, threads);
      std::vector<Region> parts;
      const auto add = [&](const char* name, size_t start, size_t bytes) {
        parts.push_back({name, start, bytes});
      };
      ASSERT_EQ(w.values.size(), p.values.size());
      for (ValueId id = 0; id < p.values.size(); ++id) {
        const bool all = p.values[id].rows == ValueInfo::Rows::kBatch;
        add("value", w.values[id],
            size_t{p.values[id].width} * (all ? max.rows : max.logit_rows) * 4);
      }
      add("turns of 5 pairs", w.turns[0], size_t{max.rows} * 5 * 2 * 4);
      add("turns of 1 pair", w.turns[1], size_t{max.rows} * 2 * 4);
      add("norm", w.vectors[1], 96 * 4);
      add("bias", w.vectors[3], 96 * 4);
      add("normed", w.normed, size_t{max.rows} * 256 * 4);
      add("forms", w.forms, InputForms{.planes = 1}.bytes(256, max.rows));
      add("experts", w.experts, ExpertsWorkspace(p, std::get<Experts>(p.ops[3]), max.rows).bytes);
      const size_t granules = (max.positions + 511) / 512;
      add("partials", w.partials,
          size_t{std::min(max.rows, kSplitRows)} * (6 * granules * (32 + 64) + 2) * 4);
      add("scratch", w.scratch, w.scratch_bytes * threads);
      expect_apart(parts, w.bytes);
      for (const WeightId matrix : {0, 2, 4, 5, 6}) {
        EXPECT_EQ(w.vectors[matrix], Workspace::kNotVector);
      }
      EXPECT_EQ(w.scratch_bytes % 64, 0u);
      EXPECT_GE(w.scratch_bytes, linear_scratch_bytes(size_t{max.rows} * 3));
      EXPECT_GE(w.scratch_bytes,
                attention_scratch_bytes(p.layers[0], {p.layers[0], CacheType::kF32}));
    }
  }
}

TEST(Workspace, partsOfExpertsDoNotOverlap) {
  const Program p = mixed_program();
  for (const size_t rows : {1, 40}) {
    const ExpertsWorkspace w(p, std::get<Experts>(p.ops[3]), rows);
    const size_t slots = rows * 3;
    expect_apart({{"router logits", w.router_logits, rows * 7 * 4},
                  {"chosen", w.chosen, slots * 4},
                  {"shares", w.shares, slots * 4},
                  {"slot of", w.slot_of, slots * 4},
                  {"slots", w.slots, slots * 4},
                  {"inputs", w.inputs, slots * 96 * 4},
                  {"inputs, quantized", w.input_forms, slots * QuantizedLayout{96}.row_bytes()},
                  {"hidden", w.hidden, slots * 160 * 4},
                  {"hidden, quantized", w.hidden_forms, slots * QuantizedLayout{160}.row_bytes()},
                  {"outputs", w.outputs, slots * 96 * 4}},
                 w.bytes);
  }
}

TEST(Workspace, isWhatTheBackendPredicts) {
  const Program p = mixed_program();
  const MaxBatch max{33, 5, 1500};
  for (const size_t threads : {1, 3}) {
    EXPECT_EQ(make_cpu_backend(threads)->workspace_bytes(p, max), Workspace(p, max, threads).bytes);
  }
}

// Counts that fit into 32 bits, and products that do not.
TEST(Workspace, sizesDoNotWrap) {
  Program p;
  const ValueId first = p.add_value(1 << 24), second = p.add_value(1 << 24);
  p.add_value(1 << 24);
  p.weights = {{"norm", Format::F32, {1 << 24, 1, 1, 1}}};
  p.layers = {{4096, 4096, 4096, 4096}};
  p.ops = {Projection{.in = second, .norm = {0, 1}, .outputs = {}}};
  const MaxBatch max{1 << 20, 1, UINT32_MAX};
  const Workspace w(p, max, 64);
  const size_t value_bytes = size_t{1} << (24 + 20 + 2);
  EXPECT_EQ(w.values[second] - w.values[first], value_bytes);
  EXPECT_EQ(w.forms - w.normed, value_bytes);
  const size_t partials = size_t{kSplitRows} * 4096 * ((1ull << 23) * (32 + 4096) + 1) * 4;
  EXPECT_EQ(w.scratch - w.partials, partials);
  EXPECT_GT(w.bytes, 4 * value_bytes + partials);

  // A tile of 4096 + 4096 values at 64 positions for each of 4096 heads.
  const size_t tile = size_t{4096 + 4096} * 64 * 4;
  EXPECT_EQ(make_cpu_backend(1)->cache_block_bytes(p, CacheType::kF32), tile * 4096);
  p.layers = {{1 << 20, 1 << 20, 1 << 27, 1 << 27}};
  EXPECT_EQ(make_cpu_backend(1)->cache_block_bytes(p, CacheType::kF16),
            (size_t{1} << 28) * 64 * 2 * (1 << 20));
}

}  // namespace
}  // namespace quern::kernels::cpu

// What to measure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/placement.h"
#include "engine/plan_speed.h"
#include "kernels/backend.h"
#include "kernels/probe.h"

namespace quern::bench {

// One kind of work: `tokens` prefilled, or decoded one after another, with `depth` positions in
// the cache before them.
struct Test {
  enum class Kind { kPrefill, kDecode };
  Kind kind;
  uint32_t tokens;
  uint32_t depth;
};
std::string_view name(Test::Kind kind);          // "prefill", "decode"
std::string_view name(kernels::CacheType type);  // "f16"
std::optional<kernels::CacheType> find_cache_type(std::string_view name);

// A tenth of the usual time, for smoke tests: caches may still hold part of what is read.
inline constexpr kernels::ProbeEffort kQuickProbe = {
    .bytes = uint64_t{128} << 20, .rounds = size_t{1} << 19, .seconds = 0.03};

// Every kind and size at every depth; tests of equal depth lie next to each other.
std::vector<Test> combine(const std::vector<uint32_t>& prefill, const std::vector<uint32_t>& decode,
                          const std::vector<uint32_t>& depths);

struct Options {
  // GGUF files, or synth:SHAPE:MIX[:SEED].
  std::vector<std::string> models;
  std::vector<Test> tests;
  std::vector<uint32_t> threads = {0};  // 0: all processors
  std::vector<kernels::CacheType> caches = {kernels::CacheType::kF16};
  engine::Placement placement;
  uint32_t repetitions = 5;
  double sustained_minutes = 0;  // each test goes on for at least that long
  kernels::ProbeEffort probe = {};
  // To predict each test from; none: no predictions.
  std::optional<engine::MachineSpeeds> speeds = {};
};

// Positions that the largest test needs.
uint32_t needed_context(const std::vector<Test>& tests);

}  // namespace quern::bench

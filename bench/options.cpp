#include "bench/options.h"

#include <algorithm>
#include <array>

namespace quern::bench {
namespace {

constexpr std::array<std::string_view, 3> kCacheTypes = {"f32", "f16", "q8_0"};  // in enum order

}  // namespace

std::string_view name(Test::Kind kind) {
  return kind == Test::Kind::kPrefill ? "prefill" : "decode";
}

std::string_view name(kernels::CacheType type) { return kCacheTypes[static_cast<size_t>(type)]; }

std::optional<kernels::CacheType> find_cache_type(std::string_view name) {
  const auto found = std::ranges::find(kCacheTypes, name);
  if (found == kCacheTypes.end()) return std::nullopt;
  return static_cast<kernels::CacheType>(found - kCacheTypes.begin());
}

std::vector<Test> combine(const std::vector<uint32_t>& prefill, const std::vector<uint32_t>& decode,
                          const std::vector<uint32_t>& depths) {
  using Kind = Test::Kind;
  std::vector<Test> tests;
  for (const uint32_t depth : depths) {
    for (const uint32_t tokens : prefill) tests.push_back({Kind::kPrefill, tokens, depth});
    for (const uint32_t tokens : decode) tests.push_back({Kind::kDecode, tokens, depth});
  }
  return tests;
}

uint32_t needed_context(const std::vector<Test>& tests) {
  uint32_t most = 0;
  // A decode at depth 0 starts after one token.
  for (const Test& test : tests) most = std::max(most, test.depth + test.tokens + 1);
  return most;
}

}  // namespace quern::bench

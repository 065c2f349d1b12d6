#include "engine/sampler/penalties.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

namespace quern::engine {
namespace {

std::span<const int32_t> last_tokens(std::span<const int32_t> history, int32_t n) {
  if (n < 0 || static_cast<size_t>(n) >= history.size()) return history;
  return history.last(static_cast<size_t>(n));
}

bool in_vocabulary(int32_t id, std::span<const float> logits) {
  return id >= 0 && static_cast<size_t>(id) < logits.size();
}

// The history after the end of the last breaker in it.
std::span<const int32_t> after_last_breaker(std::span<const int32_t> history,
                                            const std::set<std::vector<int32_t>>& breakers) {
  size_t longest = 0;
  for (const std::vector<int32_t>& b : breakers) longest = std::max(longest, b.size());
  std::vector<int32_t> sequence;
  for (size_t end = history.size(); end > 0; --end) {
    for (size_t length = 1; length <= std::min(longest, end); ++length) {
      const auto part = history.subspan(end - length, length);
      sequence.assign(part.begin(), part.end());
      if (breakers.contains(sequence)) return history.subspan(end);
    }
  }
  return history;
}

// For each position i of the history, how many tokens before i equal the last tokens of the
// history: the Z function (Gusfield 1997, section 1.3) of the history read backwards.
std::vector<size_t> suffix_matches(std::span<const int32_t> history) {
  const size_t n = history.size();
  const auto backwards = [&](size_t i) { return history[n - 1 - i]; };
  std::vector<size_t> z(n, 0);
  size_t left = 0, right = 0;  // the match that reaches furthest: [left, right)
  for (size_t i = 1; i < n; ++i) {
    size_t length = i < right ? std::min(right - i, z[i - left]) : 0;
    while (i + length < n && backwards(length) == backwards(i + length)) ++length;
    z[i] = length;
    if (i + length > right) {
      left = i;
      right = i + length;
    }
  }
  std::vector<size_t> matches(n, 0);
  for (size_t i = 1; i < n; ++i) matches[i] = z[n - i];
  return matches;
}

// multiplier * base^exponent, bounded: a penalty demotes a token, it never bans it.
float dry_penalty(const SamplerOptions& options, size_t exponent) {
  constexpr float kMost = 1e30f;
  float penalty = options.dry_multiplier;
  for (size_t i = 0; i < exponent && penalty < kMost && options.dry_base > 1; ++i) {
    penalty *= options.dry_base;
  }
  return std::min(penalty, kMost);
}

}  // namespace

void apply_penalties(std::span<float> logits, std::span<const int32_t> history,
                     const SamplerOptions& options) {
  if (!penalizes(options)) return;
  std::unordered_map<int32_t, int32_t> counts;
  for (const int32_t id : last_tokens(history, options.penalty_last_n)) {
    if (in_vocabulary(id, logits)) ++counts[id];
  }
  for (const auto& [id, count] : counts) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = logit > 0 ? logit / options.repeat_penalty : logit * options.repeat_penalty;
    logit -= static_cast<float>(count) * options.frequency_penalty + options.presence_penalty;
  }
}

void apply_dry(std::span<float> logits, std::span<const int32_t> history,
               const SamplerOptions& options) {
  const auto recent = last_tokens(history, options.dry_last_n);
  const size_t limit = after_last_breaker(recent, options.dry_breakers).size();
  const size_t allowed = static_cast<size_t>(options.dry_allowed_length);
  if (limit < allowed) return;
  const std::vector<size_t> matches = suffix_matches(recent);
  std::unordered_map<int32_t, size_t> longest;  // token -> length of the repetition it extends
  for (size_t i = 1; i < recent.size(); ++i) {
    const size_t length = std::min(matches[i], limit);
    if (length < allowed || !in_vocabulary(recent[i], logits)) continue;
    size_t& known = longest[recent[i]];
    known = std::max(known, length);
  }
  for (const auto& [id, length] : longest) {
    if (options.dry_breakers.contains({id})) continue;
    logits[static_cast<size_t>(id)] -= dry_penalty(options, length - allowed);
  }
}

}  // namespace quern::engine

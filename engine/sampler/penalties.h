// Penalties on tokens that would repeat the recent past. They change a few logits in place.
#pragma once

#include <cstdint>
#include <span>

#include "engine/sampler/options.h"

namespace quern::engine {

// Whether apply_penalties may change anything.
inline bool penalizes(const SamplerOptions& options) {
  return options.repeat_penalty != 1 || options.frequency_penalty != 0 ||
         options.presence_penalty != 0;
}

// logits: [vocab]; history: the tokens so far, oldest first (ids outside the vocabulary are passed
// over). For every token that occurs `count` times in the last penalty_last_n ones:
//   logit = logit > 0 ? logit / repeat_penalty : logit * repeat_penalty
//           (Keskar et al., "CTRL", 2019, section 4.1)
//   logit -= count * frequency_penalty + presence_penalty   (OpenAI API reference)
void apply_penalties(std::span<float> logits, std::span<const int32_t> history,
                     const SamplerOptions& options);

// DRY, "don't repeat yourself" (public description by its author, P. E. Weidmann, 2024). A token t
// that would extend a repetition of n tokens, n >= dry_allowed_length, loses
//   dry_multiplier * dry_base^(n - dry_allowed_length)
// where n is the longest suffix of the history that occurred before, followed by t. A repetition
// does not extend across a breaker, and a breaker of one token is never penalized. Linear in the
// length of the history.
void apply_dry(std::span<float> logits, std::span<const int32_t> history,
               const SamplerOptions& options);

}  // namespace quern::engine

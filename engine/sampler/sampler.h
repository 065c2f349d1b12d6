// Sampler: chooses the next token from a row of logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampler/candidates.h"
#include "engine/sampler/options.h"
#include "engine/sampler/random.h"
#include "gguf/result.h"

namespace quern::engine {

// The chain: logit bias, penalties, DRY, top-k, typical, top-p, min-p, XTC, temperature, draw.
// Mirostat 2.0 replaces the steps from top-k to XTC. With temperature 0 the token with the largest
// logit is taken after DRY (ties: the lowest id), without sorting and without random numbers.
//
// Deterministic: equal options, state, logits and history give equal tokens on every platform.
// Copyable: a copy continues the same stream of random numbers (for Session::fork).
class Sampler {
 public:
  // Precondition: validate(options) succeeds.
  explicit Sampler(SamplerOptions options = {});

  // logits: [vocab], one row; rows of padding after the last real token must be cut off. NaN and
  // -inf count as probability 0. history: the tokens so far, prompt included, oldest first; the
  // penalties look at it. Error "no-candidate" if no token is left.
  Result<int32_t> sample(std::span<const float> logits, std::span<const int32_t> history);

  // How many of the largest logits are enough for the next token; 0: all of them are needed.
  uint32_t enough() const;
  // As sample, from these alone: at least enough() of the largest logits, or all that are numbers;
  // the largest first, equal ones by ascending id.
  Result<int32_t> sample_best(Candidates best);

  const SamplerOptions& options() const { return options_; }
  // Changes the options between tokens. Random numbers continue, unless the seed is another one.
  Status set_options(SamplerOptions options);
  // Back to the state after construction.
  void reset();

 private:
  Result<int32_t> choose();  // out of candidates_
  int32_t draw_mirostat();
  void truncate();

  SamplerOptions options_;
  Random random_;
  double surprise_limit_;  // "mu" of Mirostat, in bits
  // Work space, kept to save allocations.
  std::vector<float> logits_;  // [vocab]
  Candidates candidates_;
};

}  // namespace quern::engine

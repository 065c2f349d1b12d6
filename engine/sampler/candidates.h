// The list of tokens that can still be drawn, and the truncations that shorten it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampler/random.h"

namespace quern::engine {

struct Candidate {
  int32_t id = 0;
  float logit = 0;         // finite
  double probability = 0;  // valid after softmax()
};

// Never empty between steps. In ascending order of ids until a step has truncated it, from then on
// in descending order of logits, equal ones by ascending id: either way the order, and so every
// sum and every draw, is the same on every platform.
using Candidates = std::vector<Candidate>;

// Sets the probabilities: exp(logit_i) / sum_j exp(logit_j), in double.
void softmax(Candidates& candidates);

// Top-k (Fan et al., "Hierarchical Neural Story Generation", 2018): fills the list with the k
// largest of the logits [vocab], or with all for k = 0. NaN and -inf are left out, so the list may
// stay empty; +inf becomes the largest float.
void collect(Candidates& candidates, std::span<const float> logits, int32_t k);

// Each of the following truncates what the one before left, with probabilities over what is left.

// Locally typical sampling (Meister et al., 2022): ranks tokens by how far their surprise
// -ln p is from the entropy of the distribution, and keeps the closest ones until their
// probabilities add up to `mass`; at least one.
void typical(Candidates& candidates, double mass);

// Nucleus sampling (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2019): keeps
// the likeliest tokens until their probabilities add up to `mass`; at least one.
void top_p(Candidates& candidates, double mass);

// Min-p (Nguyen et al., "Turning Up the Heat", 2024): keeps p >= ratio * (largest p);
// 0 < ratio <= 1.
void min_p(Candidates& candidates, double ratio);

// Exclude Top Choices (public description by its author, P. E. Weidmann, 2024): in a share
// `chance` of the calls, of all tokens with p >= threshold only the least likely one stays (and
// every token below). Draws one random number.
void exclude_top_choices(Candidates& candidates, double chance, double threshold, Random& random);

// The truncation of Mirostat 2.0 (Basu et al., 2020): drops tokens whose surprise -log2 p is above
// `limit` bits; at least the likeliest stays. Probabilities stay those before the truncation.
void limit_surprise(Candidates& candidates, double limit);

// logit_i = (logit_i - largest) / temperature; temperature > 0.
void scale_temperature(Candidates& candidates, double temperature);

// Draws one by inversion of the cumulative probabilities, which must be valid but, after a
// truncation, need not add up to 1.
const Candidate& draw(const Candidates& candidates, Random& random);

}  // namespace quern::engine

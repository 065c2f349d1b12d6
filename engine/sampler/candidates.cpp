#include "engine/sampler/candidates.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <limits>

namespace quern::engine {
namespace {

// Total orders: an exact set and an exact sequence follow from them, whatever the algorithm.
bool likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

float largest_logit(const Candidates& candidates) {
  float largest = candidates.front().logit;
  for (const Candidate& c : candidates) largest = std::max(largest, c.logit);
  return largest;
}

}  // namespace

void softmax(Candidates& candidates) {
  assert(!candidates.empty());
  const double largest = largest_logit(candidates);
  double sum = 0;
  for (Candidate& c : candidates) {
    c.probability = portable_exp(c.logit - largest);
    sum += c.probability;
  }
  for (Candidate& c : candidates) c.probability /= sum;
}

void collect(Candidates& candidates, std::span<const float> logits, int32_t k) {
  const size_t kept = k > 0 ? static_cast<size_t>(k) : logits.size();
  const size_t room = kept + std::max<size_t>(kept, 256);
  float floor = -std::numeric_limits<float>::infinity();  // what is not above it has lost
  const auto keep_best = [&] {
    const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(kept);
    std::nth_element(candidates.begin(), end - 1, candidates.end(), likelier);
    candidates.erase(end, candidates.end());
    floor = candidates.back().logit;
  };
  candidates.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > floor)) continue;  // NaN never is
    const float finite = std::min(logits[i], std::numeric_limits<float>::max());
    candidates.push_back({static_cast<int32_t>(i), finite, 0});
    if (candidates.size() == room) keep_best();
  }
  if (candidates.size() > kept) keep_best();
  if (k > 0) std::sort(candidates.begin(), candidates.end(), likelier);
}

void typical(Candidates& candidates, double mass) {
  softmax(candidates);
  const auto surprise = [](const Candidate& c) {
    // Below the smallest normal number p only has to rank as very surprising.
    return -portable_log(std::max(c.probability, std::numeric_limits<double>::min()));
  };
  double entropy = 0;
  for (const Candidate& c : candidates) entropy += c.probability * surprise(c);

  struct Ranked {
    Candidate candidate;
    double distance;  // of its surprise from the entropy
  };
  std::vector<Ranked> ranked;
  ranked.reserve(candidates.size());
  for (const Candidate& c : candidates) ranked.push_back({c, std::abs(surprise(c) - entropy)});
  std::sort(ranked.begin(), ranked.end(), [](const Ranked& a, const Ranked& b) {
    return a.distance != b.distance ? a.distance < b.distance : likelier(a.candidate, b.candidate);
  });
  double sum = 0;
  candidates.clear();
  for (const Ranked& r : ranked) {
    candidates.push_back(r.candidate);
    sum += r.candidate.probability;
    if (sum >= mass) break;
  }
  std::sort(candidates.begin(), candidates.end(), likelier);
}

void top_p(Candidates& candidates, double mass) {
  softmax(candidates);
  double sum = 0;
  size_t sorted = 0;  // only as much as is needed: 64 candidates, then four times as many, ...
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (i == sorted) {
      sorted = std::min(candidates.size(), std::max<size_t>(64, 4 * sorted));
      const auto begin = candidates.begin();
      std::partial_sort(begin + static_cast<std::ptrdiff_t>(i),
                        begin + static_cast<std::ptrdiff_t>(sorted), candidates.end(), likelier);
    }
    sum += candidates[i].probability;
    if (sum >= mass) {
      candidates.resize(i + 1);
      return;
    }
  }
}

void min_p(Candidates& candidates, double ratio) {
  // p_i / p_max = exp(logit_i - logit_max), so no softmax is needed.
  const double least = largest_logit(candidates) + portable_log(ratio);
  std::erase_if(candidates, [&](const Candidate& c) { return c.logit < least; });
}

void exclude_top_choices(Candidates& candidates, double chance, double threshold, Random& random) {
  if (random.uniform() >= chance) return;
  softmax(candidates);
  const Candidate* spared = nullptr;  // the least likely of the top choices
  for (const Candidate& c : candidates) {
    if (c.probability >= threshold && (!spared || likelier(*spared, c))) spared = &c;
  }
  if (!spared) return;
  const Candidate last = *spared;
  std::erase_if(candidates, [&](const Candidate& c) { return likelier(c, last); });
}

void limit_surprise(Candidates& candidates, double limit) {
  softmax(candidates);
  const double least = portable_exp(std::min(0.0, -limit * std::numbers::ln2));
  const Candidate best = *std::min_element(candidates.begin(), candidates.end(), likelier);
  std::erase_if(candidates,
                [&](const Candidate& c) { return c.probability < least && c.id != best.id; });
}

void scale_temperature(Candidates& candidates, double temperature) {
  const double largest = largest_logit(candidates);
  for (Candidate& c : candidates) {
    const double scaled = (c.logit - largest) / temperature;
    c.logit = static_cast<float>(std::max<double>(scaled, std::numeric_limits<float>::lowest()));
  }
}

const Candidate& draw(const Candidates& candidates, Random& random) {
  assert(!candidates.empty());
  double total = 0;
  for (const Candidate& c : candidates) total += c.probability;
  const double target = random.uniform() * total;
  double sum = 0;
  const Candidate* last = &candidates.front();
  for (const Candidate& c : candidates) {
    if (c.probability == 0) continue;
    last = &c;
    sum += c.probability;
    if (target < sum) break;
  }
  return *last;  // also when rounding left the sum a little below the target
}

}  // namespace quern::engine

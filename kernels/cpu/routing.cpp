#include "kernels/cpu/routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/cpu/vector_math.h"

namespace quern::kernels::cpu {
namespace {

constexpr float kSmallestSum = 6.103515625e-5f;  // of shares before they are divided by it

float order_of(float score) { return std::isnan(score) ? -INFINITY : score; }

// The first `best` of `order` become those with the largest scores; ties: lower index.
void sort_best(std::vector<uint32_t>& order, size_t best, const std::vector<float>& scores) {
  const auto better = [&](uint32_t a, uint32_t b) {
    const float left = order_of(scores[a]), right = order_of(scores[b]);
    return left != right ? left > right : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(best), order.end(),
                    better);
}

std::vector<uint32_t> ascending(size_t count) {
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// The sum of the two best scores of a group.
float group_score(std::span<const float> group) {
  float first = -INFINITY, second = -INFINITY;
  for (const float score : group) {
    const float s = order_of(score);
    second = std::max(second, std::min(s, first));
    first = std::max(first, s);
  }
  return group.size() == 1 ? first : first + second;
}

// Experts outside of the best groups get no score.
void limit_groups(const Routing& routing, std::vector<float>& scores) {
  if (routing.groups <= 1) return;
  const size_t each = scores.size() / routing.groups;
  std::vector<float> groups;
  for (size_t g = 0; g < routing.groups; ++g) {
    groups.push_back(group_score(std::span(scores).subspan(g * each, each)));
  }
  std::vector<uint32_t> order = ascending(groups.size());
  sort_best(order, routing.groups_used, groups);
  for (size_t i = routing.groups_used; i < order.size(); ++i) {
    std::fill_n(scores.begin() + static_cast<std::ptrdiff_t>(order[i] * each), each, -INFINITY);
  }
}

// Of the numbers among x; NaN stays NaN.
void softmax(std::span<float> x) {
  const auto by_order = [](float a, float b) { return order_of(a) < order_of(b); };
  exp_shifted(x.data(), x.size(), *std::ranges::max_element(x, by_order));
  float sum = 0;
  for (const float value : x) sum += std::isnan(value) ? 0 : value;
  for (float& value : x) value /= sum;
}

}  // namespace

void choose_experts(std::span<float> logits, const Routing& routing, const float* selection_bias,
                    std::span<uint32_t> chosen, float* shares) {
  // The softmax over all experts, divided by the sum of the chosen ones, is the softmax over the
  // chosen ones, and logits have the order of their softmax.
  const bool softmax_of_chosen = routing.gate == Routing::Gate::kSoftmax && routing.normalized &&
                                 !selection_bias && routing.groups <= 1;
  if (routing.gate == Routing::Gate::kSigmoid) {
    activate(Activation::kSigmoid, logits.data(), nullptr, logits.size());
  } else if (!softmax_of_chosen) {
    softmax(logits);
  }
  std::vector<float> scores(logits.begin(), logits.end());
  for (size_t e = 0; selection_bias && e < scores.size(); ++e) scores[e] += selection_bias[e];
  limit_groups(routing, scores);
  std::vector<uint32_t> order = ascending(scores.size());
  sort_best(order, chosen.size(), scores);
  std::copy_n(order.begin(), chosen.size(), chosen.begin());

  const std::span<float> share(shares, chosen.size());
  std::ranges::transform(chosen, shares, [&](uint32_t e) { return logits[e]; });
  if (softmax_of_chosen) {
    softmax(share);
  } else if (routing.normalized) {
    const float sum = std::accumulate(share.begin(), share.end(), 0.0f);
    for (float& value : share) value /= std::isnan(sum) ? sum : std::max(sum, kSmallestSum);
  }
  for (float& value : share) value *= routing.scale;
}

}  // namespace quern::kernels::cpu

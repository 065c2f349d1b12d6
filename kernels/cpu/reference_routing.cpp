#include "kernels/cpu/reference_routing.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace quern::kernels::cpu::reference {
namespace {

// Indices by falling score; ties: lower index. NaN has no order and comes last.
std::vector<uint32_t> rank(const std::vector<double>& scores) {
  const auto key = [&](uint32_t e) { return std::isnan(scores[e]) ? -INFINITY : scores[e]; };
  std::vector<uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater<>(), key);
  return order;
}

// Experts outside of the best groups lose their scores.
void limit_groups(const Routing& routing, std::vector<double>& scores) {
  if (routing.groups <= 1) return;
  const size_t each = scores.size() / routing.groups;
  std::vector<double> groups;
  for (size_t g = 0; g < routing.groups; ++g) {
    const auto first = scores.begin() + static_cast<ptrdiff_t>(g * each);
    const std::vector<double> group(first, first + static_cast<ptrdiff_t>(each));
    const std::vector<uint32_t> order = rank(group);
    groups.push_back(group[order[0]] + (each > 1 ? group[order[1]] : 0));
  }
  const std::vector<uint32_t> order = rank(groups);
  for (size_t i = routing.groups_used; i < order.size(); ++i) {
    std::fill_n(scores.begin() + static_cast<ptrdiff_t>(order[i] * each), each, -INFINITY);
  }
}

}  // namespace

Choice choose(const Routing& routing, const std::vector<float>& logits,
              const std::vector<float>& selection_bias, uint32_t used) {
  std::vector<double> p(logits.begin(), logits.end());
  if (routing.gate == Routing::Gate::kSigmoid) {
    std::ranges::transform(p, p.begin(), [](double z) { return 1 / (1 + std::exp(-z)); });
  } else {
    std::erase_if(p, [](double z) { return std::isnan(z); });
    const double largest = p.empty() ? 0 : *std::ranges::max_element(p);
    const double sum = std::accumulate(
        p.begin(), p.end(), 0.0, [&](double s, double z) { return s + std::exp(z - largest); });
    p.clear();
    for (const float z : logits) p.push_back(std::exp(z - largest) / sum);
  }
  std::vector<double> scores = p;
  for (size_t e = 0; e < selection_bias.size(); ++e) scores[e] += selection_bias[e];
  limit_groups(routing, scores);
  Choice choice{rank(scores), {}};
  choice.experts.resize(used);
  for (const uint32_t expert : choice.experts) choice.shares.push_back(p[expert]);
  const double sum = std::accumulate(choice.shares.begin(), choice.shares.end(), 0.0);
  for (double& share : choice.shares) {
    share *= routing.scale / (routing.normalized ? std::max(6.103515625e-5, sum) : 1);
  }
  return choice;
}

}  // namespace quern::kernels::cpu::reference

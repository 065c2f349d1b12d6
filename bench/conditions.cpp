#include "bench/conditions.h"

#include <algorithm>

namespace quern::bench {
namespace {

using Json = nlohmann::ordered_json;

// after - before, if both are known; not if a counter went backwards, because it wrapped.
std::optional<double> difference(std::optional<double> before, std::optional<double> after) {
  if (!before || !after || *after < *before) return std::nullopt;
  return *after - *before;
}

Json or_null(std::optional<double> value) { return value ? Json(*value) : Json(nullptr); }

Json busiest_other(const Moment& before, const Moment& after, double seconds) {
  const Moment::Process* busiest = nullptr;
  double most = 0;
  for (const auto& [id, process] : after.others) {
    const auto earlier = before.others.find(id);
    const double used = process.busy - (earlier == before.others.end() ? 0 : earlier->second.busy);
    if (used <= most) continue;
    busiest = &process;
    most = used;
  }
  if (!busiest) return nullptr;
  return {{"name", busiest->name}, {"processors", most / seconds}};
}

}  // namespace

Json conditions(const Moment& before, const Moment& after) {
  const double seconds = after.time - before.time;
  std::optional<double> others = difference(before.busy, after.busy);
  if (others) others = std::max(0.0, *others - (after.own - before.own)) / seconds;
  std::optional<double> steal = difference(before.steal, after.steal);
  if (steal) *steal /= seconds;
  return {{"seconds", seconds},
          {"others_processors", or_null(others)},
          {"busiest_other", busiest_other(before, after, seconds)},
          {"steal_processors", or_null(steal)},
          {"joules", or_null(difference(before.joules, after.joules))},
          {"major_faults", after.major_faults - before.major_faults}};
}

}  // namespace quern::bench

#include "bench/measure.h"

#include <chrono>

namespace quern::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// Token ids that look arbitrary (the finalizer of SplitMix64; Steele, Lea and Flood 2014).
std::vector<int32_t> prompt(uint32_t tokens, uint32_t vocabulary) {
  std::vector<int32_t> ids(tokens);
  uint64_t state = 0;
  for (int32_t& id : ids) {
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    id = static_cast<int32_t>((z ^ (z >> 31)) % vocabulary);
  }
  return ids;
}

engine::Session new_session(engine::Engine& engine) {
  engine::SamplerOptions greedy;
  greedy.temperature = 0;
  return engine::Session(engine, engine::Sampler(greedy), engine.vocabulary());
}

}  // namespace

Result<Workload> Workload::make(engine::Engine& engine, uint32_t depth,
                                const engine::CancelToken& cancel) {
  Workload workload(engine);
  if (depth > 0) {
    workload.past_ = new_session(engine);
    QUERN_CHECK(workload.past_->prefill(prompt(depth, engine.vocabulary()), cancel));
  }
  return workload;
}

Result<Repetition> Workload::prefill(uint32_t tokens, const engine::CancelToken& cancel) const {
  engine::Session session = past_ ? past_->fork() : new_session(*engine_);
  const std::vector<int32_t> ids = prompt(tokens, engine_->vocabulary());
  Repetition result;
  const Clock::time_point start = Clock::now();
  QUERN_CHECK(session.prefill(ids, cancel));
  const Clock::time_point computed = Clock::now();
  QUERN_TRY(const int32_t first, session.decode(cancel));  // only draws
  result.first_token_seconds = seconds(Clock::now() - start);
  result.seconds = seconds(computed - start);
  result.ids = {first};
  return result;
}

Result<Repetition> Workload::decode(uint32_t tokens, const engine::CancelToken& cancel) const {
  engine::Session session = past_ ? past_->fork() : new_session(*engine_);
  if (!past_) QUERN_CHECK(session.prefill(prompt(1, engine_->vocabulary()), cancel));
  // The first token is drawn from logits that exist already; every later one costs a step.
  QUERN_TRY(const int32_t first, session.decode(cancel));
  Repetition result;
  result.ids = {first};
  std::vector<Clock::time_point> stamps(tokens + 1);
  stamps[0] = Clock::now();
  for (uint32_t i = 1; i <= tokens; ++i) {
    QUERN_TRY(const int32_t token, session.decode(cancel));
    stamps[i] = Clock::now();
    result.ids.push_back(token);
  }
  for (uint32_t i = 1; i <= tokens; ++i) {
    result.token_seconds.push_back(seconds(stamps[i] - stamps[i - 1]));
  }
  result.seconds = seconds(stamps[tokens] - stamps[0]);
  return result;
}

}  // namespace quern::bench

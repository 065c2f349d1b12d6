#include "engine/sampler/sampler.h"

#include <algorithm>
#include <cassert>
#include <numbers>
#include <utility>

#include "engine/sampler/penalties.h"

namespace quern::engine {
namespace {

void apply_bias(std::span<float> logits, const std::map<int32_t, float>& bias) {
  for (const auto& [id, value] : bias) {
    if (static_cast<size_t>(id) < logits.size()) logits[static_cast<size_t>(id)] += value;
  }
}

tl::unexpected<Error> no_candidate() {
  return fail(ErrorKind::kFailure, "no-candidate",
              "no token can be drawn: every logit is NaN or -inf (a damaged model, or all tokens "
              "banned by logit_bias)");
}

}  // namespace

Sampler::Sampler(SamplerOptions options)
    : options_(std::move(options)),
      random_(options_.seed),
      surprise_limit_(2.0 * options_.mirostat_tau) {
  assert(validate(options_));
}

void Sampler::reset() {
  random_ = Random(options_.seed);
  surprise_limit_ = 2.0 * options_.mirostat_tau;
}

Status Sampler::set_options(SamplerOptions options) {
  QUERN_CHECK(validate(options));
  const bool restart = options.seed != options_.seed;
  if (options.mirostat_tau != options_.mirostat_tau) surprise_limit_ = 2.0 * options.mirostat_tau;
  options_ = std::move(options);
  if (restart) reset();
  return {};
}

Result<int32_t> Sampler::sample(std::span<const float> logits, std::span<const int32_t> history) {
  const SamplerOptions& o = options_;
  logits_.assign(logits.begin(), logits.end());
  apply_bias(logits_, o.logit_bias);
  apply_penalties(logits_, history, o);
  if (o.dry_multiplier > 0) apply_dry(logits_, history, o);
  collect(candidates_, logits_, o.temperature == 0 ? 1 : o.mirostat == 2 ? 0 : o.top_k);
  return choose();
}

uint32_t Sampler::enough() const {
  const SamplerOptions& o = options_;
  const bool changed = !o.logit_bias.empty() || penalizes(o) || o.dry_multiplier > 0;
  if (changed) return 0;
  if (o.temperature == 0) return 1;
  return o.mirostat == 2 ? 0 : static_cast<uint32_t>(std::max(o.top_k, 0));
}

Result<int32_t> Sampler::sample_best(Candidates best) {
  candidates_ = std::move(best);
  const uint32_t most = enough();
  if (candidates_.size() > most) candidates_.resize(most);
  return choose();
}

Result<int32_t> Sampler::choose() {
  const SamplerOptions& o = options_;
  if (candidates_.empty()) return no_candidate();
  if (o.temperature == 0) return candidates_.front().id;
  if (o.mirostat == 2) return draw_mirostat();
  truncate();
  scale_temperature(candidates_, o.temperature);
  softmax(candidates_);
  return draw(candidates_, random_).id;
}

void Sampler::truncate() {
  const SamplerOptions& o = options_;
  if (o.typical_p < 1) typical(candidates_, o.typical_p);
  if (o.top_p < 1) top_p(candidates_, o.top_p);
  if (o.min_p > 0) min_p(candidates_, o.min_p);
  if (o.xtc_probability > 0) {
    exclude_top_choices(candidates_, o.xtc_probability, o.xtc_threshold, random_);
  }
}

// Mirostat 2.0 (Basu et al., 2020, algorithm 2): after each draw the limit moves against the
// difference between the surprise seen, -log2 p before the truncation, and the one aimed at.
int32_t Sampler::draw_mirostat() {
  scale_temperature(candidates_, options_.temperature);
  limit_surprise(candidates_, surprise_limit_);
  const Candidate& drawn = draw(candidates_, random_);
  const double surprise = -portable_log(drawn.probability) / std::numbers::ln2;
  surprise_limit_ -= options_.mirostat_eta * (surprise - options_.mirostat_tau);
  return drawn.id;
}

}  // namespace quern::engine

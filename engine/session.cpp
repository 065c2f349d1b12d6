#include "engine/session.h"

#include <algorithm>
#include <cassert>
#include <limits>

#include "gguf/exceptions.h"

namespace quern::engine {
namespace {

// As collect() has them: without NaN and -inf, and +inf is the largest float.
Candidates candidates(std::span<const kernels::TopLogit> best) {
  Candidates all;
  for (const auto& [id, logit] : best) {
    if (!(logit > -std::numeric_limits<float>::infinity())) continue;
    const float finite = std::min(logit, std::numeric_limits<float>::max());
    all.push_back({static_cast<int32_t>(id), finite, 0});
  }
  return all;
}

}  // namespace

Session::Session(Engine& engine, Sampler sampler, uint32_t real_tokens)
    : engine_(&engine),
      sequence_(engine.new_sequence()),
      sampler_(std::move(sampler)),
      real_tokens_(std::min(real_tokens, engine.vocabulary())) {}

Session::Session(const Session& other, Sequence sequence)
    : engine_(other.engine_),
      sequence_(std::move(sequence)),
      sampler_(other.sampler_),
      real_tokens_(other.real_tokens_),
      tokens_(other.tokens_),
      logits_(other.logits_),
      best_(other.best_) {}

Session Session::fork() const { return Session(*this, sequence_.fork()); }

Status Session::prefill(std::span<const int32_t> tokens, const CancelToken& cancel) {
  const size_t before = tokens_.size();
  Status status = catch_exceptions([&]() -> Status {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    return advance(cancel);
  });
  if (!status)
    tokens_.resize(std::max<size_t>(std::min(before, tokens_.size()), sequence_.length()));
  return status;
}

Result<int32_t> Session::decode(const CancelToken& cancel) {
  assert(!tokens_.empty());
  return catch_exceptions([&]() -> Result<int32_t> {
    QUERN_CHECK(advance(cancel));
    QUERN_TRY(const int32_t token,
              logits_.empty() ? sampler_.sample_best(candidates(best_))
                              : sampler_.sample(std::span(logits_).first(real_tokens_), tokens_));
    tokens_.push_back(token);
    return token;
  });
}

void Session::rewind(size_t length) {
  assert(length <= tokens_.size());
  tokens_.resize(length);
  sequence_.rewind(most_kept(length));
}

size_t Session::kept(size_t length) const {
  const uint32_t most = most_kept(length), kept = sequence_.rewound(most);
  return kept == most ? std::min(length, tokens_.size()) : kept;
}

// One position less than there are tokens: the last token is computed again for its logits.
uint32_t Session::most_kept(size_t length) const {
  return std::min(sequence_.length(), static_cast<uint32_t>(length > 0 ? length - 1 : 0));
}

Status Session::advance(const CancelToken& cancel) {
  const size_t chunk = engine_->options().batch_rows;
  // The sampler may want more than it wanted before.
  if (sequence_.length() == tokens_.size() && !tokens_.empty() && !has_enough()) {
    sequence_.rewind(sequence_.length() - 1);
  }
  while (sequence_.length() < tokens_.size()) {
    const size_t first = sequence_.length();
    const size_t count = std::min(chunk, tokens_.size() - first);
    std::vector<Row> rows;
    for (size_t i = first; i < first + count; ++i) {
      rows.push_back({&sequence_, tokens_[i], i + 1 == tokens_.size()});
    }
    const Status status = compute(rows, cancel);
    if (!status && status.error().code == "state-lost") {
      sequence_.rewind(sequence_.length());
      continue;
    }
    QUERN_CHECK(status);
  }
  return {};
}

Status Session::compute(std::span<const Row> rows, const CancelToken& cancel) {
  if (const uint32_t count = needed()) {
    QUERN_TRY(const auto best, engine_->step_top(rows, {count, real_tokens_}, cancel));
    best_.assign(best.begin(), best.end());
    logits_.clear();
  } else {
    QUERN_TRY(const auto logits, engine_->step(rows, cancel));
    logits_.assign(logits.begin(), logits.end());
  }
  return {};
}

uint32_t Session::needed() const {
  const uint32_t enough = std::min(sampler_.enough(), real_tokens_);
  return enough <= kernels::kMostTopLogits ? enough : 0;
}

bool Session::has_enough() const {
  const uint32_t count = needed();
  return !logits_.empty() || (count > 0 && count <= best_.size());
}

}  // namespace quern::engine

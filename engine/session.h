// Session: one conversation with a model: its tokens, their place in the cache, and the sampler.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "engine/sampler/sampler.h"

namespace quern::engine {

class Session {
 public:
  // `real_tokens`: ids from here on are padding of the output matrix and never drawn.
  Session(Engine& engine, Sampler sampler, uint32_t real_tokens);

  // Appends tokens and computes them, chunk by chunk. When it is cancelled, or the context is too
  // small, the tokens that were not computed are dropped again. Errors: those of Engine::step,
  // "file-changed", "out-of-memory".
  Status prefill(std::span<const int32_t> tokens, const CancelToken& cancel);

  // Draws the next token and appends it; it is computed when the one after it is needed. There must
  // be at least one token. Errors: those of Engine::step and Sampler::sample.
  Result<int32_t> decode(const CancelToken& cancel);

  // All tokens, prompt and answers.
  std::span<const int32_t> tokens() const { return tokens_; }
  uint32_t context() const { return engine_->context(); }

  // Forgets the tokens from `length` on, as if they had never been there. A recurrent model goes
  // back to a state that it has kept, and reads the tokens since then again when it goes on; one
  // with windows reads all again if it goes back further than it keeps.
  void rewind(size_t length);
  // How many tokens need not be read again after that (but for the last one, for its logits).
  size_t kept(size_t length) const;
  // An independent session with the same past; shares its cache until one of them goes on.
  Session fork() const;

  Sampler& sampler() { return sampler_; }
  const Sampler& sampler() const { return sampler_; }

 private:
  Session(const Session& other, Sequence sequence);
  uint32_t most_kept(size_t length) const;
  // Computes all tokens that are not in the cache yet; the last one's logits go to logits_. When a
  // device fails these are all tokens, which the CPU then computes.
  Status advance(const CancelToken& cancel);
  Status compute(std::span<const Row> rows, const CancelToken& cancel);
  // Logits of a row that the sampler needs, 0: all; and whether those at hand are enough.
  uint32_t needed() const;
  bool has_enough() const;

  Engine* engine_;
  Sequence sequence_;
  Sampler sampler_;
  uint32_t real_tokens_;
  std::vector<int32_t> tokens_;
  // After the last token, if all are in the cache: all logits, [vocabulary], or if that is empty
  // the best ones, as many as the sampler needed when they were computed.
  std::vector<float> logits_;
  std::vector<kernels::TopLogit> best_;
};

}  // namespace quern::engine

// Quality: how well a model predicts a text (perplexity), and how far two models' predictions are
// apart (Kullback-Leibler divergence).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/tokenizer/tokenizer.h"

namespace quern::engine {

// A piece of text that a model sees at once. What it predicts after tokens[first] and later is
// scored; the tokens before that are only context.
struct Window {
  std::vector<int32_t> tokens;
  uint32_t first;
};

// Windows of `context` tokens, one every `stride` tokens; a window scores its last `stride`
// predictions, but not its first half. The usual perplexity has stride = context. A begin token
// replaces the first token of every window if the model wants one. At most `limit` windows (0:
// all). Errors: "text-short" (less than one window).
struct WindowOptions {
  uint32_t context, stride, limit;
};
Result<std::vector<Window>> cut_windows(const Tokenizer& tokenizer, std::string_view text,
                                        const WindowOptions& options);

// Engine options for windows of this size.
EngineOptions window_engine(EngineOptions options, uint32_t context);

// Computes a window with several engines, a few rows at a time, and calls `visit` for every
// prediction that is scored, with each engine's logits and the token that came. Errors: those of
// Engine::step.
using Visit = std::function<void(std::span<const std::span<const float>> logits, int32_t next)>;
Status visit_predictions(std::span<Engine* const> engines, const Window& window,
                         const CancelToken& cancel, const Visit& visit);

// A number and the standard error of it.
struct Estimate {
  double value = 0, error = 0;
};

// Mean and its standard error, from independent values.
class MeanOf {
 public:
  void add(double value) {
    ++count_;
    sum_ += value;
    squares_ += value * value;
  }
  uint64_t count() const { return count_; }
  Estimate estimate() const;
  // e^mean, with the error carried along: perplexity, or a ratio of two of them.
  Estimate exponential() const;

 private:
  uint64_t count_ = 0;
  double sum_ = 0, squares_ = 0;
};

// log(sum(exp(logits))), and log probabilities relative to it.
double log_sum_exp(std::span<const float> logits);

// What one model's predictions are beside a reference's.
class Comparison {
 public:
  // Logits of both for the same position, and the token that came.
  void add(std::span<const float> reference, std::span<const float> model, int32_t next);

  Estimate perplexity() const { return model_.exponential(); }
  Estimate reference_perplexity() const { return reference_.exponential(); }
  // Perplexity of the model divided by that of the reference, position by position.
  Estimate ratio() const { return difference_.exponential(); }
  // KL(reference || model) in nats.
  Estimate divergence() const { return divergence_.estimate(); }
  double divergence_quantile(double q) const;                   // 0.5: median
  Estimate agreement() const { return agreement_.estimate(); }  // share of equal first choices
  uint64_t count() const { return model_.count(); }

 private:
  MeanOf model_, reference_, difference_, divergence_, agreement_;
  std::vector<float> divergences_;
};

}  // namespace quern::engine

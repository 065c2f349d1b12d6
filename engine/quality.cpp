#include "engine/quality.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cmath>

namespace quern::engine {
namespace {

constexpr uint32_t kBatchRows = 512;
constexpr uint32_t kLogitRows = 128;  // logits are large: vocabulary * 4 bytes each

}  // namespace

Result<std::vector<Window>> cut_windows(const Tokenizer& tokenizer, std::string_view text,
                                        const WindowOptions& options) {
  assert(options.context >= 2 && options.stride >= 1 && options.stride <= options.context);
  const std::vector<int32_t> ids =
      tokenizer.encode(text, /*add_special=*/true, /*parse_special=*/false);
  if (ids.size() < options.context) {
    return bad_input("text-short", fmt::format("the text has {} tokens, less than one window of {}",
                                               ids.size(), options.context));
  }
  const bool begins = tokenizer.bos().has_value() && ids.front() == *tokenizer.bos();
  std::vector<Window> windows;
  for (size_t at = 0; at + options.context <= ids.size(); at += options.stride) {
    if (options.limit > 0 && windows.size() == options.limit) break;
    const auto first = ids.begin() + static_cast<ptrdiff_t>(at);
    Window window{{first, first + options.context},
                  std::max(options.context / 2, options.context - options.stride)};
    if (begins) window.tokens.front() = *tokenizer.bos();
    windows.push_back(std::move(window));
  }
  return windows;
}

EngineOptions window_engine(EngineOptions options, uint32_t context) {
  options.context = context;
  options.batch_rows = kBatchRows;
  options.logit_rows = kLogitRows;
  return options;
}

Status visit_predictions(std::span<Engine* const> engines, const Window& window,
                         const CancelToken& cancel, const Visit& visit) {
  std::vector<Sequence> sequences;
  for (Engine* engine : engines) sequences.push_back(engine->new_sequence());
  std::vector<std::span<const float>> logits(engines.size());
  std::vector<std::span<const float>> row_logits(engines.size());
  // The last token predicts nothing that could be scored.
  const size_t end = window.tokens.size() - 1;
  for (size_t from = 0, to = 0; from < end; from = to) {
    size_t scored = 0;
    for (to = from; to < end && to - from < kBatchRows; ++to) {
      if (to >= window.first && ++scored > kLogitRows) break;
    }
    for (size_t e = 0; e < engines.size(); ++e) {
      std::vector<Row> rows;
      for (size_t i = from; i < to; ++i) {
        rows.push_back({&sequences[e], window.tokens[i], i >= window.first});
      }
      QUERN_TRY(logits[e], engines[e]->step(rows, cancel));
    }
    size_t row = 0;
    for (size_t i = std::max<size_t>(from, window.first); i < to; ++i, ++row) {
      for (size_t e = 0; e < engines.size(); ++e) {
        const size_t width = engines[e]->vocabulary();
        row_logits[e] = logits[e].subspan(row * width, width);
      }
      visit(row_logits, window.tokens[i + 1]);
    }
  }
  return {};
}

Estimate MeanOf::estimate() const {
  const auto n = static_cast<double>(count_);
  const double mean = sum_ / n;
  const double variance = std::max(0.0, squares_ / n - mean * mean);
  return {mean, count_ > 1 ? std::sqrt(variance / (n - 1)) : 0};
}

Estimate MeanOf::exponential() const {
  const Estimate mean = estimate();
  return {std::exp(mean.value), std::exp(mean.value) * mean.error};
}

double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float v : logits) sum += std::exp(v - largest);
  return largest + std::log(sum);
}

void Comparison::add(std::span<const float> reference, std::span<const float> model, int32_t next) {
  assert(reference.size() == model.size());
  const double reference_sum = log_sum_exp(reference), model_sum = log_sum_exp(model);
  double divergence = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double p = reference[i] - reference_sum;
    divergence += std::exp(p) * (p - (model[i] - model_sum));
  }
  const auto token = static_cast<size_t>(next);
  const double reference_loss = reference_sum - reference[token];
  const double model_loss = model_sum - model[token];
  reference_.add(reference_loss);
  model_.add(model_loss);
  difference_.add(model_loss - reference_loss);
  divergence_.add(divergence);
  divergences_.push_back(static_cast<float>(divergence));
  const auto choice = [](std::span<const float> logits) {
    return std::ranges::max_element(logits) - logits.begin();
  };
  agreement_.add(choice(reference) == choice(model) ? 1 : 0);
}

double Comparison::divergence_quantile(double q) const {
  if (divergences_.empty()) return 0;
  std::vector<float> sorted = divergences_;
  const auto at = static_cast<size_t>(q * static_cast<double>(sorted.size() - 1) + 0.5);
  std::ranges::nth_element(sorted, sorted.begin() + static_cast<ptrdiff_t>(at));
  return sorted[at];
}

}  // namespace quern::engine

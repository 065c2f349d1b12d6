#include "engine/sampler/options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>
#include <type_traits>

namespace quern::engine {
namespace {

using S = SamplerOptions;
constexpr double kMaxInt = std::numeric_limits<int32_t>::max();

constexpr OptionRow kRows[] = {
    {"temp", "temp", &S::temperature, 0, 100, "randomness; 0 always takes the likeliest token"},
    {"top_k", "top_k", &S::top_k, 0, kMaxInt, "keep the K likeliest tokens; 0 = all"},
    {"typical_p", "", &S::typical_p, 0, 1, "locally typical sampling: mass kept; 1 = off"},
    {"top_p", "top_p", &S::top_p, 0, 1, "nucleus sampling: probability mass kept; 1 = off"},
    {"min_p", "min_p", &S::min_p, 0, 1, "least probability relative to the best token; 0 = off"},
    {"xtc_probability", "xtc_probability", &S::xtc_probability, 0, 1,
     "how often the likeliest tokens are excluded (XTC); 0 = never"},
    {"xtc_threshold", "xtc_threshold", &S::xtc_threshold, 0, 1,
     "probability from which XTC may exclude a token; above 0.5 = off"},
    {"penalty_last_n", "penalty_last_n", &S::penalty_last_n, -1, kMaxInt,
     "tokens the three penalties look back; 0 = off, -1 = all"},
    {"repeat_penalty", "penalty_repeat", &S::repeat_penalty, 0.01, 100,
     "divides the logit of repeated tokens; 1 = off"},
    {"frequency_penalty", "", &S::frequency_penalty, -100, 100,
     "logits subtracted per occurrence; 0 = off"},
    {"presence_penalty", "", &S::presence_penalty, -100, 100,
     "logits subtracted from tokens that occurred; 0 = off"},
    {"dry_multiplier", "", &S::dry_multiplier, 0, 100,
     "penalty for continuing a repeated sequence (DRY); 0 = off"},
    {"dry_base", "", &S::dry_base, 1, 100, "growth of the DRY penalty per repeated token"},
    {"dry_allowed_length", "", &S::dry_allowed_length, 1, kMaxInt,
     "repetitions shorter than this are free"},
    {"dry_last_n", "", &S::dry_last_n, -1, kMaxInt, "tokens DRY looks back; 0 = off, -1 = all"},
    {"mirostat", "mirostat", &S::mirostat, 0, 2,
     "2 = Mirostat 2.0 in place of top-k ... XTC; 0 = off"},
    {"mirostat_tau", "mirostat_tau", &S::mirostat_tau, 0, 100, "surprise aimed at, in bits"},
    {"mirostat_eta", "mirostat_eta", &S::mirostat_eta, 0, 1, "learning rate of Mirostat"},
    {"seed", "", &S::seed, 0, 0, "seed of the random numbers"},
};

bool same_name(std::string_view typed, std::string_view name) {
  if (typed.size() != name.size()) return false;
  for (size_t i = 0; i < typed.size(); ++i) {
    if ((typed[i] == '-' ? '_' : typed[i]) != name[i]) return false;
  }
  return true;
}

template <typename T>
Result<T> parse_number(std::string_view name, std::string_view text) {
  // Longer texts are refused too: no option needs them.
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) {
    constexpr const char* kind = std::is_floating_point_v<T> ? "a number" : "a whole number";
    return bad_input("option-value",
                     fmt::format("{} must be {}, not {}", name, kind, escape(text)));
  }
  return value;
}

Status out_of_range(const S& options, const OptionRow& row, std::string_view allowed) {
  return bad_input("option-range", fmt::format("{} must be {}, not {}", row.name, allowed,
                                               option_text(options, row)));
}

Status check_row(const S& options, const OptionRow& row) {
  const auto in_range = [&](auto member) {
    if constexpr (std::is_same_v<decltype(member), uint64_t S::*>) {
      return true;
    } else {
      const double value = options.*member;
      return value >= row.least && value <= row.most;  // false for NaN
    }
  };
  if (!std::visit(in_range, row.member)) {
    return out_of_range(options, row,
                        row.most == kMaxInt ? fmt::format("at least {}", row.least)
                                            : fmt::format("from {} to {}", row.least, row.most));
  }
  if (row.name == "mirostat" && options.mirostat == 1) return out_of_range(options, row, "0 or 2");
  return {};
}

Status check_bias(int32_t id, float bias) {
  if (id < 0) return bad_input("option-range", "logit_bias: a token id must be at least 0");
  if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity()) {
    return bad_input("option-range", "logit_bias: a bias must be a finite number or -inf");
  }
  return {};
}

Status set_bias(S& options, std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) {
    return bad_input("option-value", "logit_bias must be ID=BIAS, for example 42=-inf");
  }
  QUERN_TRY(const int32_t id, parse_number<int32_t>("logit_bias", text.substr(0, equals)));
  QUERN_TRY(const float bias, parse_number<float>("logit_bias", text.substr(equals + 1)));
  QUERN_CHECK(check_bias(id, bias));
  options.logit_bias[id] = bias;
  return {};
}

Status set_row(S& options, const OptionRow& row, std::string_view text) {
  S changed = options;
  const auto assign = [&](auto member) -> Status {
    using T = std::remove_reference_t<decltype(changed.*member)>;
    QUERN_TRY(changed.*member, parse_number<T>(row.name, text));
    return {};
  };
  QUERN_CHECK(std::visit(assign, row.member));
  QUERN_CHECK(check_row(changed, row));
  options = std::move(changed);
  return {};
}

}  // namespace

std::span<const OptionRow> option_rows() { return kRows; }

Status validate(const SamplerOptions& options) {
  for (const OptionRow& row : kRows) QUERN_CHECK(check_row(options, row));
  for (const auto& [id, bias] : options.logit_bias) QUERN_CHECK(check_bias(id, bias));
  for (const std::vector<int32_t>& breaker : options.dry_breakers) {
    if (breaker.empty()) return bad_input("option-range", "a DRY sequence breaker is empty");
  }
  return {};
}

Status set_option(SamplerOptions& options, std::string_view name, std::string_view value) {
  for (const OptionRow& row : kRows) {
    if (same_name(name, row.name)) return set_row(options, row, value);
  }
  if (same_name(name, "logit_bias")) return set_bias(options, value);
  return bad_input("option-name", fmt::format("there is no sampling option {}", escape(name)));
}

std::string option_text(const SamplerOptions& options, const OptionRow& row) {
  return std::visit([&](auto member) { return fmt::format("{}", options.*member); }, row.member);
}

}  // namespace quern::engine

// What the user can choose about sampling: the options, their ranges, and setting them by name.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "gguf/result.h"

namespace quern::engine {

// Ranges and one line of help for each field are in option_rows(); validate() checks them. A step
// whose value is neutral is skipped.
struct SamplerOptions {
  float temperature = 0.8f;  // divides the logits; 0 = greedy (no truncation, no randomness)

  // Truncations; see steps.h.
  int32_t top_k = 40;            // tokens kept; 0 = all
  float typical_p = 1.0f;        // probability mass kept around the entropy; 1 = all
  float top_p = 0.95f;           // probability mass kept; 1 = all
  float min_p = 0.05f;           // least probability, relative to the most likely token's; 0 = all
  float xtc_probability = 0.0f;  // how often XTC acts; 0 = never
  float xtc_threshold = 0.1f;    // a token at least this likely counts as a "top choice"

  // Penalties on tokens of the recent past; see penalties.h.
  int32_t penalty_last_n = 64;     // tokens looked back; 0 = none, -1 = all
  float repeat_penalty = 1.0f;     // divides positive logits, multiplies negative ones; 1 = none
  float frequency_penalty = 0.0f;  // subtracted once per occurrence, in logits
  float presence_penalty = 0.0f;   // subtracted once if the token occurred, in logits
  float dry_multiplier = 0.0f;     // penalty of the shortest repetition, in logits; 0 = no DRY
  float dry_base = 1.75f;          // growth of the penalty per token of repetition
  int32_t dry_allowed_length = 2;  // repetitions shorter than this many tokens are free
  int32_t dry_last_n = -1;         // tokens looked back; 0 = none, -1 = all
  // Token sequences that a repetition does not extend across (ends of lines, quotes, names).
  std::set<std::vector<int32_t>> dry_breakers = {};

  int32_t mirostat = 0;       // 0 = off; 2 = Mirostat 2.0 in place of the truncations
  float mirostat_tau = 5.0f;  // the surprise aimed at, in bits per token
  float mirostat_eta = 0.1f;  // learning rate of the surprise limit

  std::map<int32_t, float> logit_bias = {};  // added to the logit of a token id; -inf bans it
  uint64_t seed = 0;                         // equal seeds give equal draws
};

// One option that has a name and a single value.
struct OptionRow {
  using Member =
      std::variant<float SamplerOptions::*, int32_t SamplerOptions::*, uint64_t SamplerOptions::*>;
  std::string_view name;          // as in `/set NAME`; the command line writes `-` for `_`
  std::string_view metadata_key;  // the key is general.sampling.<this>; empty if there is none
  Member member;
  double least, most;  // inclusive range (a seed may be any 64-bit number)
  std::string_view help;
};
std::span<const OptionRow> option_rows();

// Error "option-range" naming the first field outside its range.
Status validate(const SamplerOptions& options);

// Sets the option called `name` (`-` and `_` are equal) from text. `logit_bias` takes ID=BIAS and
// adds to the map. Errors: "option-name", "option-value" (not a number), "option-range"; the
// options are then unchanged.
Status set_option(SamplerOptions& options, std::string_view name, std::string_view value);

// The value of a row as text that set_option would accept.
std::string option_text(const SamplerOptions& options, const OptionRow& row);

}  // namespace quern::engine

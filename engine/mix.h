// Mixes: which tensor of a model gets which block format under the usual names ("Q4_K_M").
// Spec: block formats, section 7.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "gguf/format.h"
#include "gguf/result.h"

namespace quern::engine {

struct Mix {
  std::string_view name;
  uint32_t file_type;      // value of general.file_type
  gguf::Format base;       // matrices without a rule of their own
  gguf::Format embedding;  // token_embd of a model with an output matrix
  gguf::Format output;     // the output matrix, or the embedding it is tied to
};

// All mixes, and the one with this name (case-insensitive) if there is one.
std::span<const Mix> mixes();
const Mix* find_mix(std::string_view name);

// What the rules look at besides a tensor's name.
struct MixSubject {
  std::string_view architecture = {};
  uint32_t layers = 0;
  uint32_t queries_per_key = 1;  // query heads / key-value heads
  uint32_t experts = 0;
  bool has_importance = false;  // importance data are at hand
};

struct MixTensor {
  std::string_view name;
  std::array<uint64_t, 4> shape;  // innermost first
};

// The format of every tensor, by index; nullopt for those that a mix leaves as they are (norms,
// biases, routers, other small or delicate ones). Row lengths that a format cannot hold get its
// usual substitute.
std::vector<std::optional<gguf::Format>> apply_mix(const Mix& mix, const MixSubject& subject,
                                                   std::span<const MixTensor> tensors);

}  // namespace quern::engine

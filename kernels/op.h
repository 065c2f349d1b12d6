// The operations a model is made of: plain structs over value and weight ids, no pointers. Every
// backend implements each of them or says in one line that it does not (see backend.h).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "gguf/format.h"

namespace quern::kernels {

using ValueId = uint32_t;   // index into Program::values
using WeightId = uint32_t;  // index into Program::weights
inline constexpr uint32_t kAbsent = UINT32_MAX;

// Activations: f32 [rows][width], packed: an operation that writes narrower rows than `width` packs
// them at their own width. Rows are those of the batch, or only those whose logits are wanted.
struct ValueInfo {
  enum class Rows { kBatch, kLogits };
  uint32_t width;
  Rows rows = Rows::kBatch;
};

// What is known of a weight before it is bound: enough to plan memory and choose kernels.
struct WeightInfo {
  std::string name;
  gguf::Format format;
  std::array<uint64_t, 4> shape;  // innermost first: [in, out, experts]

  uint64_t in() const { return shape[0]; }
  uint64_t out() const { return shape[1]; }
  uint64_t bytes() const {
    return gguf::info(format).row_bytes(shape[0]) * shape[1] * shape[2] * shape[3];
  }
};

// y = x / sqrt(mean(x^2) + epsilon) * weight (RMSNorm, Zhang and Sennrich 2019).
struct Norm {
  WeightId weight = kAbsent;  // [width], F32; kAbsent: no normalization
  float epsilon = 0;
};

// Applied to the gate of a gated unit.
enum class Activation { kNone, kSilu };

// out[row] = table[token of row].
struct Embed {
  WeightId table;  // [width, vocabulary]
  ValueId out;
};

// out = weight · x (+ bias) (+ add); `add` may be `out`.
struct Linear {
  WeightId weight;          // [in, out]
  WeightId bias = kAbsent;  // [out], F32
  ValueId out = kAbsent;
  ValueId add = kAbsent;
};

// Several matrices applied to one input that is normalized (and quantized) once. With an
// activation, there are exactly two outputs, gate and up, and outputs[0].out = activation(gate) *
// up.
struct Projection {
  ValueId in;
  Norm norm;
  std::vector<Linear> outputs;
  Activation activation = Activation::kNone;
};

// Rotary position embedding (Su et al. 2021). Pair i of a head turns by position * frequencies[i]
// radians and is scaled by magnitude; all scaling kinds reduce to this (spec: architectures, 3).
struct Rope {
  enum class Pairs { kInterleaved, kHalves };  // (2i, 2i+1) or (i, i + count)
  std::vector<double> frequencies;             // rotated pairs; the rest of the head passes through
  float magnitude = 1;
  Pairs pairs = Pairs::kInterleaved;
};

// The shape of one attention layer's heads.
struct Heads {
  uint32_t queries;      // query heads
  uint32_t keys;         // key/value heads; divides `queries`
  uint32_t key_width;    // values per query and key head
  uint32_t value_width;  // values per value head
};

// Per head: optional norm, then rope, of q (in place) and k; then k and v join the cache of
// `layer`.
struct CacheAppend {
  ValueId q, k, v;      // [queries * key_width], [keys * key_width], [keys * value_width]
  Norm q_norm, k_norm;  // [key_width]
  uint32_t rope;        // index into Program::ropes
  uint32_t layer;       // index into Program::layers
};

// Causal attention over the cache of `layer`: out_h = Σ_j softmax_j(scale · q_h · k_j) v_j.
struct Attention {
  ValueId q, out;  // [queries * key_width], [queries * value_width]
  uint32_t layer;
  float scale;
};

// Mixture of experts: p = softmax(router · norm(in)); the `used` largest are taken (ties: lower
// index), their p divided by their sum; out = add + Σ p_e · down_e(silu(gate_e x) * up_e x).
struct Experts {
  ValueId in;
  Norm norm;
  WeightId router;          // [in, experts]
  WeightId gate, up, down;  // [in, hidden, experts], the same, [hidden, out, experts]
  uint32_t used;            // experts per token
  ValueId out;
  ValueId add;
};

// out = the rows of `in` whose logits are wanted.
struct SelectLogitRows {
  ValueId in, out;
};

using Op = std::variant<Embed, Projection, CacheAppend, Attention, Experts, SelectLogitRows>;

// One forward pass. Operations run in order; values are written before they are read.
struct Program {
  std::vector<ValueInfo> values;
  std::vector<WeightInfo> weights;
  std::vector<Rope> ropes;
  std::vector<Heads> layers;  // attention layers, each with a cache of its own
  std::vector<Op> ops;
  ValueId logits = kAbsent;  // Rows::kLogits, [vocabulary]

  ValueId add_value(uint32_t width, ValueInfo::Rows rows = ValueInfo::Rows::kBatch) {
    values.push_back({width, rows});
    return static_cast<ValueId>(values.size() - 1);
  }
};

}  // namespace quern::kernels

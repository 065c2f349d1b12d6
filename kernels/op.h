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

// RMS: y = x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich 2019).
// Layer: y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * weight (+ bias) (Ba et al.
// 2016).
struct Norm {
  enum class Kind { kRms, kLayer };
  WeightId weight = kAbsent;  // [width], F32; kAbsent: no normalization
  float epsilon = 0;
  WeightId bias = kAbsent;  // [width], F32; only of kLayer
  Kind kind = Kind::kRms;
};

// silu(x) = x / (1 + exp(-x)); gelu(x) = x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)));
// relu_squared(x) = max(x, 0)^2; sigmoid(x) = 1 / (1 + exp(-x)). A gated unit is activation(gate) *
// up, and with kClampedSwiglu (gpt-oss), which is always gated, g / (1 + exp(-1.702 g)) * (u + 1)
// with g = min(gate, 7) and u = clamp(up, -7, 7).
enum class Activation { kNone, kSilu, kGelu, kReluSquared, kSigmoid, kClampedSwiglu };

// out[row] = scale * table[token of row] (+ positions[position of row]).
struct Embed {
  WeightId table;  // [width, vocabulary]
  ValueId out;
  float scale = 1;
  WeightId positions = kAbsent;  // [width, positions]; all positions of a batch are below its rows
};

// out = gate * scale * (weight · x (+ bias)) (+ add); `add` may be `out`.
struct Linear {
  WeightId weight;          // [in, out]
  WeightId bias = kAbsent;  // [out], F32
  ValueId out = kAbsent;
  ValueId add = kAbsent;
  float scale = 1;
  ValueId gate = kAbsent;  // [1]: one factor per row
};

// Several matrices applied to one input that is normalized (and quantized) once. With an
// activation there is one output, out = activation(weight · x (+ bias)), or two, gate and up, and
// outputs[0].out = activation(gate) * up (+ add); scale and gate of a Linear are then neutral.
struct Projection {
  ValueId in;
  Norm norm;
  std::vector<Linear> outputs;
  Activation activation = Activation::kNone;
  // int8 planes that integer kernels make of the input, 1 or 2: the second one holds what the first
  // one leaves. Of a plain product.
  uint32_t planes = 1;

  // Whether its outputs are gate and up.
  bool gated() const { return activation != Activation::kNone && outputs.size() == 2; }
};

// out = scale * norm(in) + add, the end of a branch that is normalized after its last product, or
// not at all; `add` may be `out`, and `in` is neither.
struct AddNormed {
  ValueId in;
  Norm norm;
  ValueId out, add;
  float scale = 1;
};

// x = cap * tanh(x / cap), in place.
struct SoftCap {
  ValueId x;
  float cap;
};

// Rotary position embedding (Su et al. 2021). Pair i of a head turns by position * frequencies[i]
// radians and is scaled by magnitude; all scaling kinds reduce to this (spec: architectures, 3).
struct Rope {
  enum class Pairs { kInterleaved, kHalves };  // (2i, 2i+1) or (i, i + count)
  std::vector<double> frequencies;             // rotated pairs; the rest of the head passes through
  float magnitude = 1;
  Pairs pairs = Pairs::kInterleaved;
};

// The shape of one attention layer's heads. A layer that keeps no keys has none of anything.
struct Heads {
  uint32_t queries;      // query heads
  uint32_t keys;         // key/value heads; divides `queries`
  uint32_t key_width;    // values per query and key head
  uint32_t value_width;  // values per value head
  uint32_t group = 0;    // of the layers that keep the same positions: index into Program::windows
  // Values are the last value_width values of the keys, and kept once.
  bool shared = false;

  uint32_t kept_values() const { return shared ? 0 : value_width; }  // beside the key
};

// The norm of the heads of q or k.
struct HeadNorm {
  enum class Over {
    kEachHead,  // one weight [key_width] for every head
    kOwnHead,   // weight [heads * key_width]: a part for each head
    kAllHeads   // weight [heads * key_width]: all heads are one vector
  };
  Norm norm = {};
  Over over = Over::kEachHead;
};

// Queries grow with their position p: q = q * (1 + slope * ln(1 + floor(p / length))) (Llama 4).
struct QueryTemperature {
  float slope = 0;  // 0: none
  uint32_t length = 1;
};

// Norm and rope of q (in place) and k, as far as given; k and v, if any, join the cache of `layer`.
// Where values are shared with keys there is no v.
struct CacheAppend {
  ValueId q, k, v;  // [queries * key_width], [keys * key_width], [keys * value_width]
  HeadNorm q_norm, k_norm;
  uint32_t rope;   // index into Program::ropes; kAbsent: no rotation
  uint32_t layer;  // index into Program::layers
  QueryTemperature temperature = {};
};

// Causal attention over the cache of `layer`: out_h = Σ_j p_j v_j with p = softmax(s) and scores
// s_j = scale · q_h · k_j of the positions j <= p that the row at position p sees.
struct Attention {
  ValueId q, out;  // [queries * key_width], [queries * value_width]
  uint32_t layer;
  float scale;               // > 0
  float softcap = 0;         // > 0: s_j = softcap * tanh(s_j / softcap)
  uint32_t window = 0;       // > 0: only positions j > p - window
  WeightId sinks = kAbsent;  // [queries], F32: one more score per head, whose p has no v
};

// How experts are chosen: p = gate(z), z = logit_scale * (router · x (+ bias)) of the x that
// experts read, or with a norm of its own x = norm(in); the `used` experts with the largest p
// (+ selection_bias) are taken (ties: lower index), each with the share
// w_e = scale * p_e (/ Σ of the p that are taken, if normalized) (* factors_e). With groups > 1
// only experts of the best groups_used groups count; a group is as good as the sum of its two best
// experts.
struct Routing {
  enum class Gate { kSoftmax, kSigmoid };
  Gate gate = Gate::kSoftmax;
  WeightId bias = kAbsent;            // [experts], F32
  WeightId selection_bias = kAbsent;  // [experts], F32
  uint32_t groups = 1, groups_used = 1;
  bool normalized = true;
  float scale = 1;
  Norm norm = {};
  float logit_scale = 1;
  WeightId factors = kAbsent;  // [experts], F32
};

// Mixture of experts: out = add + Σ w_e · (down_e h_e (+ down_bias_e)) with the gated unit
// h_e = activation(gate_e x (+ gate_bias_e)) * (up_e x (+ up_bias_e)), x = norm(in).
struct Experts {
  ValueId in;
  Norm norm;
  WeightId router;          // [in, experts]; gate = up: matrices 2e, 2e + 1 of one stack
  WeightId gate, up, down;  // [in, hidden, experts], the same, [hidden, out, experts]
  uint32_t used;            // experts per token
  ValueId out;
  ValueId add;  // or kAbsent
  Routing routing = {};
  Activation activation = Activation::kSilu;
  // F32, flat: [experts * hidden], the same, [experts * out].
  WeightId gate_bias = kAbsent, up_bias = kAbsent, down_bias = kAbsent;
};

// x = scale * norm(x) * activation(gate), in place; what is absent is left out. With `gate_first`
// x = scale * norm(x * activation(gate)). The norm is one of heads, each of `width` values.
struct GatedNorm {
  ValueId x;  // [heads * width]
  uint32_t heads, width;
  bool normalized = false;
  HeadNorm norm = {};  // RMS; without a weight: x / sqrt(mean(x^2) + epsilon)
  ValueId gate = kAbsent;
  Activation activation = Activation::kNone;
  bool gate_first = false;
  float scale = 1;
};

// Puts heads together from parts of other values: out[h][to + i] = in[first + h * stride + i] for
// every head h and every piece, i < width. Pieces cover all of a head.
struct Arrange {
  struct Piece {
    ValueId in;
    uint32_t first, stride;  // where the piece of head 0 lies in a row of `in`; of the next one
    uint32_t to, width;
  };
  std::vector<Piece> pieces;
  ValueId out;  // [heads * width]
  uint32_t heads, width;
};

// Every head has a matrix of its own: out[h] = weight_h · in[h].
struct HeadProduct {
  ValueId in, out;  // [heads * in], [heads * out]
  WeightId weight;  // [in, out, heads]
};

// Recurrent layers: what they carry from row to row is a state of the sequence, see
// Program::states. It starts as zeros, and every row is one step, in order of position.

// Depthwise causal convolution: with u = in (* before),
// out_t = activation(Σ_j weight[j] * u_{t - (taps - 1) + j} (+ bias)) (* after), where u is zero
// before the first position. The state is [taps - 1][width], the last of u.
struct CausalConv {
  ValueId in, out;  // [width]; `out` is none of the inputs
  WeightId weight;  // flat [width][taps]
  uint32_t taps;
  uint32_t state;           // index into Program::states
  WeightId bias = kAbsent;  // [width]
  ValueId before = kAbsent, after = kAbsent;
  Activation activation = Activation::kNone;
};

// Gated delta rule (Yang et al. 2025, "Gated Delta Networks"). The row `mixed` is q, k and v; with
// q / (|q| sqrt(width)) and k / |k| per head (both changed in place), for value head i and key head
// j = i mod key_heads:
//   S = exp(a_i softplus(decay_i + bias_i)) S;  u = sigmoid(beta_i) (v_i - Sᵀ k_j);
//   S = S + k_j uᵀ;  out_i = Sᵀ q_j.
// The state is S, [value_heads][width][width].
struct GatedDelta {
  ValueId mixed;           // [(2 * key_heads + value_heads) * width]
  ValueId decay, beta;     // [value_heads]
  ValueId out;             // [value_heads * width]
  WeightId a, decay_bias;  // [value_heads], a <= 0
  uint32_t key_heads, value_heads, width;
  float epsilon;  // lengths of q and k are at least this
  uint32_t state;
};

// Mamba-2's selective scan (Dao and Gu 2024). The row `mixed` is x, B and C; for head i of group
// g = i / (heads / groups) and Δ = softplus(step_i + bias_i):
//   S_i = exp(Δ a_i) S_i + B_g (Δ x_i)ᵀ;  out_i = S_iᵀ C_g + skip_i x_i.
// The state is S, [heads][state_width][width].
struct SelectiveScan {
  ValueId mixed;                // [heads * width + 2 * groups * state_width]
  ValueId step;                 // [heads]
  ValueId out;                  // [heads * width]
  WeightId a, step_bias, skip;  // [heads], a <= 0
  uint32_t heads, width, groups, state_width;
  uint32_t state;
};

// out = the rows of `in` whose logits are wanted.
struct SelectLogitRows {
  ValueId in, out;
};

using Op =
    std::variant<Embed, Projection, AddNormed, SoftCap, CacheAppend, Attention, Experts, GatedNorm,
                 Arrange, HeadProduct, CausalConv, GatedDelta, SelectiveScan, SelectLogitRows>;

// A stretch of a program that a backend computes without a break: operations [begin, end).
struct Part {
  size_t begin = 0, end = 0;
  ValueId input = kAbsent;   // given by the caller; kAbsent: the part begins with tokens
  ValueId output = kAbsent;  // returned to the caller
};

// One forward pass, or what one device computes of it. Operations run in order; values are written
// before they are read.
struct Program {
  std::vector<ValueInfo> values;
  std::vector<WeightInfo> weights;
  std::vector<Rope> ropes;
  std::vector<Heads> layers;  // each with a cache of its own
  // Per group of layers: a row sees the last so many positions, and older ones need not be kept;
  // 0: it sees all.
  std::vector<uint32_t> windows = {0};
  std::vector<uint32_t> states;  // per recurrent operation: f32 that a sequence carries
  std::vector<Op> ops;
  std::vector<Part> parts;  // ascending; a whole model is one part, whose output are its logits

  ValueId add_value(uint32_t width, ValueInfo::Rows rows = ValueInfo::Rows::kBatch) {
    values.push_back({width, rows});
    return static_cast<ValueId>(values.size() - 1);
  }
  uint32_t add_state(uint32_t floats) {
    states.push_back(floats);
    return static_cast<uint32_t>(states.size() - 1);
  }
  // Of one state of a sequence: all its recurrent operations.
  uint64_t state_bytes() const {
    uint64_t floats = 0;
    for (const uint32_t count : states) floats += count;
    return floats * sizeof(float);
  }
  // Ends a program of one part.
  void finish(ValueId output) { parts = {{0, ops.size(), kAbsent, output}}; }
};

}  // namespace quern::kernels

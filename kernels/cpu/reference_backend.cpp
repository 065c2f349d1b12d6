// The scalar truth of every operation of op.h: a backend that runs any program one value at a time,
// each operation written like its formula. Weights are decoded to f32, activations are not
// quantized, keys and values stay f32 whatever the cache type; values are f32, sums are double.
// It is slow, and made to be read and to be compared with.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <numeric>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/reference.h"
#include "kernels/cpu/reference_recurrent.h"
#include "kernels/cpu/reference_routing.h"
#include "kernels/cpu/states.h"

namespace quern::kernels {
namespace {

using cpu::AlignedBuffer;
using cpu::reference::choose;
using Row = std::vector<float>;
using Rows = std::vector<Row>;

double dot(const float* a, const float* b, size_t count) {
  return std::inner_product(a, a + count, b, 0.0, std::plus<>(),
                            [](double x, double y) { return x * y; });
}

// weight is [count] or null, then all are 1; bias is [count] or null.
void normalize(const Norm& norm, const float* weight, const float* bias, size_t count, float* x) {
  const auto size = static_cast<double>(count);
  const bool layer = norm.kind == Norm::Kind::kLayer;
  const double mean = layer ? std::accumulate(x, x + count, 0.0) / size : 0;
  double squares = 0;
  for (size_t i = 0; i < count; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const double scale = 1 / std::sqrt(squares / size + norm.epsilon);
  for (size_t i = 0; i < count; ++i) {
    x[i] =
        static_cast<float>((x[i] - mean) * scale * (weight ? weight[i] : 1) + (bias ? bias[i] : 0));
  }
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

float activate(Activation activation, float value) {
  const double x = value;
  switch (activation) {
    case Activation::kNone:
      return value;
    case Activation::kSilu:
      return static_cast<float>(x * sigmoid(x));
    case Activation::kGelu:
      return static_cast<float>(
          x / 2 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x))));
    case Activation::kReluSquared:
      return x < 0 ? 0 : value * value;
    case Activation::kSigmoid:
      return static_cast<float>(sigmoid(x));
    case Activation::kClampedSwiglu:
      return static_cast<float>((x > 7 ? 7 : x) * sigmoid(1.702 * (x > 7 ? 7 : x)));
  }
  return value;
}

// up = activation(gate) * up.
void apply_gate(Activation activation, const Row& gate, Row& up) {
  const bool clamped = activation == Activation::kClampedSwiglu;
  for (size_t i = 0; i < up.size(); ++i) {
    up[i] = activate(activation, gate[i]) * (clamped ? std::clamp(up[i], -7.0f, 7.0f) + 1 : up[i]);
  }
}

std::vector<double> softmax(std::vector<double> x) {
  const double largest = *std::ranges::max_element(x);
  for (double& value : x) value = std::exp(value - largest);
  const double sum = std::accumulate(x.begin(), x.end(), 0.0);
  for (double& value : x) value /= sum;
  return x;
}

double soft_cap(double x, double cap) { return cap * std::tanh(x / cap); }

void rotate(float* head, const Rope& rope, uint32_t position) {
  const size_t pairs = rope.frequencies.size();
  const bool interleaved = rope.pairs == Rope::Pairs::kInterleaved;
  for (size_t i = 0; i < pairs; ++i) {
    float& x0 = head[interleaved ? 2 * i : i];
    float& x1 = head[interleaved ? 2 * i + 1 : i + pairs];
    const double angle = position * rope.frequencies[i];
    const double rotated = (x0 * std::cos(angle) - x1 * std::sin(angle)) * rope.magnitude;
    x1 = static_cast<float>((x0 * std::sin(angle) + x1 * std::cos(angle)) * rope.magnitude);
    x0 = static_cast<float>(rotated);
  }
}

// Per group of layers f32 [blocks][layers][64 positions][key/value heads][key, value].
class ReferenceCache final : public Cache {
 public:
  explicit ReferenceCache(const Program& program)
      : heads_(program.layers), groups_(program.windows.size()) {
    for (const Heads& heads : heads_) {
      size_t& block_floats = groups_[heads.group].block_floats;
      layers_.push_back(block_floats);
      block_floats += size_t{kBlockPositions} * heads.keys * entry_floats(heads);
    }
  }

  Status allocate(const Program& program, const BlockCounts& blocks, uint32_t states) {
    for (size_t i = 0; i < groups_.size(); ++i) {
      QUERN_TRY(groups_[i].memory, AlignedBuffer::allocate(groups_[i].bytes(), blocks[i]));
    }
    QUERN_TRY(states_, cpu::States::allocate(program, states));
    return {};
  }

  uint64_t block_bytes() const {
    uint64_t bytes = 0;
    for (const Group& group : groups_) bytes += group.bytes();
    return bytes;
  }
  uint64_t bytes() const override {
    uint64_t bytes = states_.bytes();
    for (const Group& group : groups_) bytes += group.memory.size();
    return bytes;
  }
  const cpu::States& states() const { return states_; }
  void copy_block(uint32_t group, uint32_t from, uint32_t to) override {
    const Group& of = groups_[group];
    std::memcpy(of.memory.data() + to * of.bytes(), of.memory.data() + from * of.bytes(),
                of.bytes());
  }

  float* key(uint32_t layer, uint32_t block, uint32_t position, uint32_t head) const {
    const Heads& heads = heads_[layer];
    const Group& group = groups_[heads.group];
    const size_t index = size_t{position % kBlockPositions} * heads.keys + head;
    return reinterpret_cast<float*>(group.memory.data()) + block * group.block_floats +
           layers_[layer] + index * entry_floats(heads);
  }
  float* value(uint32_t layer, uint32_t block, uint32_t position, uint32_t head) const {
    const Heads& heads = heads_[layer];
    return key(layer, block, position, head) + entry_floats(heads) - heads.value_width;
  }

 private:
  struct Group {
    size_t block_floats = 0;
    AlignedBuffer memory = {};

    size_t bytes() const { return block_floats * sizeof(float); }  // of a block
  };

  static size_t entry_floats(const Heads& heads) {
    return size_t{heads.key_width} + heads.kept_values();
  }

  const std::vector<Heads> heads_;
  std::vector<size_t> layers_;  // where a layer starts in a block, in floats
  std::vector<Group> groups_;
  cpu::States states_;
};

size_t rows_of(const ValueInfo& value, size_t batch_rows, size_t logit_rows) {
  return value.rows == ValueInfo::Rows::kBatch ? batch_rows : logit_rows;
}

uint64_t value_bytes(const ValueInfo& value, const MaxBatch& max) {
  return uint64_t{value.width} * rows_of(value, max.rows, max.logit_rows) * sizeof(float);
}

class ReferenceExecutable final : public Executable {
 public:
  ReferenceExecutable(const Program& program, std::span<const gguf::TensorView> weights,
                      ReferenceCache& cache)
      : program_(program), weights_(weights.begin(), weights.end()), cache_(cache) {}

  Status allocate(const MaxBatch& max) {
    for (const ValueInfo& value : program_.values) {
      QUERN_TRY(AlignedBuffer memory, AlignedBuffer::allocate(value_bytes(value, max)));
      values_.push_back(std::move(memory));
    }
    return {};
  }

  Result<std::span<const float>> run(const Batch& batch, const std::atomic<bool>& cancel) override {
    batch_ = &batch;
    const Part& part = program_.parts[batch.part];
    if (part.input != kAbsent) std::ranges::copy(batch.input, at(part.input, 0, 0));
    for (size_t i = part.begin; i < part.end; ++i) {
      if (cancel) return fail(ErrorKind::kCancelled, "cancelled", "stopped");
      std::visit([this](const auto& typed) { run(typed); }, program_.ops[i]);
    }
    const ValueInfo& output = program_.values[part.output];
    const size_t rows = rows_of(output, batch.tokens.size(), batch.logit_rows.size());
    return std::span<const float>(at(part.output, 0, 0), rows * output.width);
  }

 private:
  void run(const Embed& op) {
    for (size_t row = 0; row < batch_->tokens.size(); ++row) {
      const Row x = weight_row(op.table, static_cast<size_t>(batch_->tokens[row]));
      const Row position = weight_row(op.positions, batch_->positions[row]);
      float* out = at(op.out, row, x.size());
      for (size_t i = 0; i < x.size(); ++i) {
        out[i] = op.scale * x[i] + (position.empty() ? 0 : position[i]);
      }
    }
  }

  void run(const Projection& op) {
    const Rows x = normalized(op.in, op.outputs[0].weight, op.norm);
    const Linear& first = op.outputs[0];
    if (op.activation == Activation::kNone) {
      for (const Linear& linear : op.outputs) store(multiply(linear, x), linear);
      return;
    }
    Rows gate = multiply(first, x);
    if (op.outputs.size() == 1) {
      for (Row& row : gate) {
        for (float& value : row) value = activate(op.activation, value);
      }
      return store(gate, first);
    }
    Rows y = multiply(op.outputs[1], x);
    for (size_t row = 0; row < y.size(); ++row) apply_gate(op.activation, gate[row], y[row]);
    store(y, first);
  }

  void run(const AddNormed& op) {
    const size_t width = program_.values[op.out].width;
    for (size_t row = 0; row < rows(op.in); ++row) {
      Row y(at(op.in, row, width), at(op.in, row, width) + width);
      if (op.norm.weight != kAbsent) normalize(op.norm, y);
      for (size_t i = 0; i < width; ++i) {
        at(op.out, row, width)[i] = at(op.add, row, width)[i] + op.scale * y[i];
      }
    }
  }

  void run(const SoftCap& op) {
    const size_t count = rows(op.x) * program_.values[op.x].width;
    float* x = at(op.x, 0, 0);
    for (size_t i = 0; i < count; ++i) x[i] = static_cast<float>(soft_cap(x[i], op.cap));
  }

  void run(const CacheAppend& op) {
    const Heads& heads = program_.layers[op.layer];
    const auto turn = [&](ValueId id, const HeadNorm& norm, size_t row, uint32_t count) {
      float* x = at(id, row, size_t{count} * heads.key_width);
      if (norm.norm.weight != kAbsent) normalize_heads(norm, heads.key_width, count, x);
      for (uint32_t h = 0; op.rope != kAbsent && h < count; ++h) {
        rotate(x + size_t{h} * heads.key_width, program_.ropes[op.rope], batch_->positions[row]);
      }
    };
    for (size_t row = 0; row < batch_->tokens.size(); ++row) {
      const uint32_t position = batch_->positions[row];
      turn(op.q, op.q_norm, row, heads.queries);
      if (op.k != kAbsent) turn(op.k, op.k_norm, row, heads.keys);
      const uint32_t steps = position / op.temperature.length;
      float* q = at(op.q, row, size_t{heads.queries} * heads.key_width);
      for (size_t i = 0; i < size_t{heads.queries} * heads.key_width; ++i) {
        q[i] = static_cast<float>(q[i] * (1 + op.temperature.slope * std::log(1.0 + steps)));
      }
      for (uint32_t h = 0; op.k != kAbsent && h < heads.keys; ++h) {
        std::copy_n(at(op.k, row * heads.keys + h, heads.key_width), heads.key_width,
                    cache_.key(op.layer, block(op.layer, row, position), position, h));
        if (heads.shared) continue;
        std::copy_n(at(op.v, row * heads.keys + h, heads.value_width), heads.value_width,
                    cache_.value(op.layer, block(op.layer, row, position), position, h));
      }
    }
  }

  void normalize_heads(const HeadNorm& heads, size_t width, uint32_t count, float* x) const {
    const bool all = heads.over == HeadNorm::Over::kAllHeads;
    const Row weight = weight_row(heads.norm.weight, 0), bias = weight_row(heads.norm.bias, 0);
    if (all) return kernels::normalize(heads.norm, data(weight), data(bias), width * count, x);
    for (size_t h = 0; h < count; ++h) {
      const size_t first = heads.over == HeadNorm::Over::kOwnHead ? h * width : 0;
      kernels::normalize(heads.norm, weight.empty() ? nullptr : &weight[first],
                         bias.empty() ? nullptr : &bias[first], width, x + h * width);
    }
  }

  void run(const Attention& op) {
    for (size_t row = 0; row < batch_->tokens.size(); ++row) {
      for (uint32_t h = 0; h < program_.layers[op.layer].queries; ++h) attend(op, row, h);
    }
  }

  // out_h = Σ_j p_j v_j over the positions that the row sees.
  void attend(const Attention& op, size_t row, uint32_t h) {
    const Heads& heads = program_.layers[op.layer];
    const uint32_t kv_head = h / (heads.queries / heads.keys);
    const float* q = at(op.q, row * heads.queries + h, heads.key_width);
    const uint32_t end = batch_->positions[row] + 1;
    const uint32_t begin = op.window == 0 || end <= op.window ? 0 : end - op.window;
    std::vector<double> scores;
    for (uint32_t j = begin; j < end; ++j) {
      const float* k = cache_.key(op.layer, block(op.layer, row, j), j, kv_head);
      const double score = op.scale * dot(q, k, heads.key_width);
      scores.push_back(op.softcap > 0 ? soft_cap(score, op.softcap) : score);
    }
    if (op.sinks != kAbsent) scores.push_back(weight_row(op.sinks, 0)[h]);
    const std::vector<double> p = softmax(std::move(scores));
    std::vector<double> out(heads.value_width);
    for (uint32_t j = begin; j < end; ++j) {
      const float* v = cache_.value(op.layer, block(op.layer, row, j), j, kv_head);
      for (size_t d = 0; d < out.size(); ++d) out[d] += p[j - begin] * v[d];
    }
    std::ranges::copy(out, at(op.out, row * heads.queries + h, heads.value_width));
  }

  void run(const Experts& op) {
    const Rows x = normalized(op.in, op.router, op.norm);
    const bool own_norm = op.routing.norm.weight != kAbsent;
    Rows logits =
        multiply(op.router, 0, own_norm ? normalized(op.in, op.router, op.routing.norm) : x);
    if (op.routing.bias != kAbsent) add_bias(weight_row(op.routing.bias, 0), 0, logits);
    for (Row& row : logits) {
      for (float& z : row) z *= op.routing.logit_scale;
    }
    Rows y;
    for (size_t row = 0; row < x.size(); ++row) y.push_back(mixture(op, x[row], logits[row]));
    store(y, {.weight = op.down, .out = op.out, .add = op.add});
  }

  // Σ w_e · down_e(activation(gate_e x) * up_e x).
  Row mixture(const Experts& op, const Row& x, const Row& logits) const {
    auto [chosen, shares] =
        choose(op.routing, logits, weight_row(op.routing.selection_bias, 0), op.used);
    const Row factors = weight_row(op.routing.factors, 0);
    for (size_t i = 0; !factors.empty() && i < chosen.size(); ++i) shares[i] *= factors[chosen[i]];
    const auto apply = [&](WeightId weight, WeightId bias, uint32_t expert, const Row& input) {
      Rows y = multiply(weight, expert, {input});
      if (bias != kAbsent) add_bias(weight_row(bias, 0), expert * y[0].size(), y);
      return y[0];
    };
    std::vector<double> sum(weights_[op.down].shape[1]);
    for (size_t i = 0; i < chosen.size(); ++i) {
      const bool fused = op.gate == op.up;
      const uint32_t gate = fused ? 2 * chosen[i] : chosen[i], up = fused ? gate + 1 : gate;
      Row hidden = apply(op.up, op.up_bias, up, x);
      apply_gate(op.activation, apply(op.gate, op.gate_bias, gate, x), hidden);
      const Row y = apply(op.down, op.down_bias, chosen[i], hidden);
      for (size_t d = 0; d < sum.size(); ++d) sum[d] += shares[i] * y[d];
    }
    return Row(sum.begin(), sum.end());
  }

  void run(const GatedNorm& op) {
    const size_t count = size_t{op.heads} * op.width;
    for (size_t row = 0; row < rows(op.x); ++row) {
      float* x = at(op.x, row, count);
      const auto gate = [&] {
        for (size_t i = 0; op.gate != kAbsent && i < count; ++i) {
          x[i] *= activate(op.activation, at(op.gate, row, count)[i]);
        }
      };
      if (op.gate_first) gate();
      if (op.normalized) normalize_heads(op.norm, op.width, op.heads, x);
      if (!op.gate_first) gate();
      for (size_t i = 0; i < count; ++i) x[i] *= op.scale;
    }
  }

  void run(const Arrange& op) {
    for (size_t row = 0; row < rows(op.out); ++row) {
      for (const Arrange::Piece& piece : op.pieces) {
        const float* in = at(piece.in, row, program_.values[piece.in].width) + piece.first;
        float* out = at(op.out, row, size_t{op.heads} * op.width) + piece.to;
        for (size_t h = 0; h < op.heads; ++h) {
          std::copy_n(in + h * piece.stride, piece.width, out + h * op.width);
        }
      }
    }
  }

  void run(const HeadProduct& op) {
    const auto [in, out, heads, _] = program_.weights[op.weight].shape;
    for (size_t row = 0; row < rows(op.in); ++row) {
      for (size_t h = 0; h < heads; ++h) {
        const float* x = at(op.in, row * heads + h, in);
        std::ranges::copy(multiply(op.weight, h, {Row(x, x + in)})[0],
                          at(op.out, row * heads + h, out));
      }
    }
  }

  // Calls step(row, state) for all rows; the state begins as that of the row's sequence, or zeros.
  template <typename Step>
  void for_steps(uint32_t state, const Step& step) {
    const size_t count = batch_->tokens.size(), floats = program_.states[state];
    for (size_t first = 0; first < count; first = batch_->sequence_end(first)) {
      const StateSlots& slots = batch_->states[batch_->sequences[first]];
      float* to = cache_.states().at(slots.to, state);
      if (slots.from == kAbsent) {
        std::fill_n(to, floats, 0.0f);
      } else {
        std::copy_n(cache_.states().at(slots.from, state), floats, to);
      }
      for (size_t row = first; row < batch_->sequence_end(first); ++row) step(row, to);
    }
  }

  void run(const CausalConv& op) {
    const size_t width = program_.values[op.out].width;
    const Row weight = weight_row(op.weight, 0), bias = weight_row(op.bias, 0);
    for_steps(op.state, [&](size_t row, float* state) {
      Row u(at(op.in, row, width), at(op.in, row, width) + width);
      const auto times = [&](ValueId id, float* x) {
        for (size_t i = 0; id != kAbsent && i < width; ++i) x[i] *= at(id, row, width)[i];
      };
      times(op.before, u.data());
      float* out = at(op.out, row, width);
      cpu::reference::conv_step(op, width, weight.data(), data(bias), u.data(), state, out);
      for (size_t i = 0; i < width; ++i) out[i] = activate(op.activation, out[i]);
      times(op.after, out);
    });
  }

  void run(const GatedDelta& op) {
    const Row a = weight_row(op.a, 0), bias = weight_row(op.decay_bias, 0);
    const size_t heads = op.value_heads, mixed = (2 * op.key_heads + heads) * op.width;
    for_steps(op.state, [&](size_t row, float* state) {
      cpu::reference::delta_step(op, a.data(), bias.data(), at(op.mixed, row, mixed),
                                 at(op.decay, row, heads), at(op.beta, row, heads), state,
                                 at(op.out, row, heads * op.width));
    });
  }

  void run(const SelectiveScan& op) {
    const Row a = weight_row(op.a, 0), bias = weight_row(op.step_bias, 0);
    const Row skip = weight_row(op.skip, 0);
    const size_t out = size_t{op.heads} * op.width, mixed = out + 2 * op.groups * op.state_width;
    for_steps(op.state, [&](size_t row, float* state) {
      cpu::reference::scan_step(op, a.data(), bias.data(), skip.data(), at(op.mixed, row, mixed),
                                at(op.step, row, op.heads), state, at(op.out, row, out));
    });
  }

  void run(const SelectLogitRows& op) {
    const size_t width = program_.values[op.in].width;
    for (size_t i = 0; i < batch_->logit_rows.size(); ++i) {
      std::copy_n(at(op.in, batch_->logit_rows[i], width), width, at(op.out, i, width));
    }
  }

  // Row `row` of a weight, empty if it is absent; the rows of expert e start at e * out.
  Row weight_row(WeightId id, size_t row) const {
    if (id == kAbsent) return {};
    const gguf::TensorView& tensor = weights_[id];
    Row values(tensor.row_values());
    cpu::reference::decode_row(tensor.format, tensor.bytes.data() + row * tensor.row_bytes(),
                               values.data(), values.size());
    return values;
  }

  // The rows of a value that a weight multiplies, after the norm.
  Rows normalized(ValueId id, WeightId weight, const Norm& norm) const {
    const size_t width = weights_[weight].row_values();
    Rows x;
    for (size_t row = 0; row < rows(id); ++row) {
      x.emplace_back(at(id, row, width), at(id, row, width) + width);
      if (norm.weight != kAbsent) normalize(norm, x[row]);
    }
    return x;
  }

  void normalize(const Norm& norm, Row& x) const {
    const Row weight = weight_row(norm.weight, 0), bias = weight_row(norm.bias, 0);
    kernels::normalize(norm, weight.data(), data(bias), x.size(), x.data());
  }
  static const float* data(const Row& row) { return row.empty() ? nullptr : row.data(); }

  Rows multiply(const Linear& linear, const Rows& x) const {
    Rows y = multiply(linear.weight, 0, x);
    if (linear.bias != kAbsent) add_bias(weight_row(linear.bias, 0), 0, y);
    return y;
  }

  // y = W_expert · x for every row.
  Rows multiply(WeightId id, size_t expert, const Rows& x) const {
    const size_t out = weights_[id].shape[1];
    Rows y(x.size(), Row(out));
    for (size_t r = 0; r < out; ++r) {
      const Row w = weight_row(id, expert * out + r);
      for (size_t t = 0; t < x.size(); ++t) {
        y[t][r] = static_cast<float>(dot(w.data(), x[t].data(), w.size()));
      }
    }
    return y;
  }

  // Adds bias[first …] to every row.
  static void add_bias(const Row& bias, size_t first, Rows& y) {
    for (Row& row : y) {
      for (size_t i = 0; i < row.size(); ++i) row[i] += bias[first + i];
    }
  }

  // out = gate * scale * y (+ add).
  void store(const Rows& y, const Linear& to) {
    for (size_t row = 0; row < y.size(); ++row) {
      const float factor = to.gate == kAbsent ? to.scale : to.scale * *at(to.gate, row, 1);
      for (size_t i = 0; i < y[row].size(); ++i) {
        const float before = to.add == kAbsent ? 0 : at(to.add, row, y[row].size())[i];
        at(to.out, row, y[row].size())[i] = before + factor * y[row][i];
      }
    }
  }

  size_t rows(ValueId id) const {
    return rows_of(program_.values[id], batch_->tokens.size(), batch_->logit_rows.size());
  }
  // Row `row` of a value that is packed at `width`.
  float* at(ValueId id, size_t row, size_t width) const {
    return reinterpret_cast<float*>(values_[id].data()) + row * width;
  }
  uint32_t block(uint32_t layer, size_t row, uint32_t position) const {
    return batch_->blocks(program_, layer, row)[position / kBlockPositions];
  }

  const Program program_;
  const std::vector<gguf::TensorView> weights_;
  ReferenceCache& cache_;
  std::vector<AlignedBuffer> values_;  // by ValueId
  const Batch* batch_ = nullptr;
};

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "reference"; }

  // What lives as long as the executable; operations allocate their own intermediate rows.
  uint64_t workspace_bytes(const Program& program, const MaxBatch& max) const override {
    uint64_t bytes = 0;
    for (const ValueInfo& value : program.values) bytes += value_bytes(value, max);
    return bytes;
  }
  uint64_t cache_block_bytes(const Program& program, CacheType) const override {
    return ReferenceCache(program).block_bytes();
  }

  Result<std::unique_ptr<Cache>> make_cache(const Program& program, CacheType,
                                            const BlockCounts& blocks, uint32_t states) override {
    auto cache = std::make_unique<ReferenceCache>(program);
    QUERN_CHECK(cache->allocate(program, blocks, states));
    return cache;
  }
  Result<std::unique_ptr<Executable>> compile(const Program& program,
                                              std::span<const gguf::TensorView> weights,
                                              Cache& cache, const MaxBatch& max, WeightHome,
                                              const PackObserver&) override {
    auto executable = std::make_unique<ReferenceExecutable>(program, weights,
                                                            static_cast<ReferenceCache&>(cache));
    QUERN_CHECK(executable->allocate(max));
    return executable;
  }
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace quern::kernels

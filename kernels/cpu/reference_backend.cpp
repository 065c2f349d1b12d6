// The scalar truth of every operation of op.h: a backend that runs any program one value at a time,
// each operation written like its formula. Weights are decoded to f32, activations are not
// quantized, keys and values stay f32 whatever the cache type; values are f32, sums are double.
// It is slow, and made to be read and to be compared with.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/reference.h"

namespace quern::kernels {
namespace {

using cpu::AlignedBuffer;
using Row = std::vector<float>;
using Rows = std::vector<Row>;

double dot(const float* a, const float* b, size_t count) {
  return std::inner_product(a, a + count, b, 0.0, std::plus<>(),
                            [](double x, double y) { return x * y; });
}

void rms_norm(float* x, const Row& weight, float epsilon) {
  const double mean = dot(x, x, weight.size()) / static_cast<double>(weight.size());
  const double scale = 1 / std::sqrt(mean + epsilon);
  for (size_t i = 0; i < weight.size(); ++i) x[i] = static_cast<float>(x[i] * scale * weight[i]);
}

float silu(float x) { return static_cast<float>(x / (1 + std::exp(-static_cast<double>(x)))); }

std::vector<double> softmax(std::vector<double> x) {
  const double largest = *std::ranges::max_element(x);
  for (double& value : x) value = std::exp(value - largest);
  const double sum = std::accumulate(x.begin(), x.end(), 0.0);
  for (double& value : x) value /= sum;
  return x;
}

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

// Experts by falling logit; ties: lower index. NaN has no order and comes last.
std::vector<uint32_t> rank(const Row& logits) {
  const auto key = [&](uint32_t e) { return std::isnan(logits[e]) ? -INFINITY : logits[e]; };
  std::vector<uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, std::greater<>(), key);
  return order;
}

// f32 [blocks][layers][64 positions][key/value heads][key, value].
class ReferenceCache final : public Cache {
 public:
  explicit ReferenceCache(const Program& program) : heads_(program.layers) {
    for (const Heads& heads : heads_) {
      layers_.push_back(block_floats_);
      block_floats_ += size_t{kBlockPositions} * heads.keys * entry_floats(heads);
    }
  }

  Status allocate(uint32_t blocks) {
    QUERN_TRY(memory_, AlignedBuffer::allocate(block_bytes(), blocks));
    return {};
  }

  uint64_t block_bytes() const { return block_floats_ * sizeof(float); }
  uint64_t bytes() const override { return memory_.size(); }
  void copy_block(uint32_t from, uint32_t to) override {
    std::memcpy(memory_.data() + to * block_bytes(), memory_.data() + from * block_bytes(),
                block_bytes());
  }

  float* key(uint32_t layer, uint32_t block, uint32_t position, uint32_t head) const {
    const Heads& heads = heads_[layer];
    const size_t index = size_t{position % kBlockPositions} * heads.keys + head;
    return reinterpret_cast<float*>(memory_.data()) + block * block_floats_ + layers_[layer] +
           index * entry_floats(heads);
  }
  float* value(uint32_t layer, uint32_t block, uint32_t position, uint32_t head) const {
    return key(layer, block, position, head) + heads_[layer].key_width;
  }

 private:
  static size_t entry_floats(const Heads& heads) {
    return size_t{heads.key_width} + heads.value_width;
  }

  const std::vector<Heads> heads_;
  std::vector<size_t> layers_;  // where a layer starts in a block, in floats
  size_t block_floats_ = 0;
  AlignedBuffer memory_;
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
    for (const Op& op : program_.ops) {
      if (cancel) return fail(ErrorKind::kCancelled, "cancelled", "stopped");
      std::visit([this](const auto& typed) { run(typed); }, op);
    }
    const size_t width = program_.values[program_.logits].width;
    return std::span<const float>(at(program_.logits, 0, width), batch.logit_rows.size() * width);
  }

 private:
  void run(const Embed& op) {
    for (size_t row = 0; row < batch_->tokens.size(); ++row) {
      const Row x = weight_row(op.table, static_cast<size_t>(batch_->tokens[row]));
      std::ranges::copy(x, at(op.out, row, x.size()));
    }
  }

  void run(const Projection& op) {
    const Rows x = normalized(op.in, op.outputs[0].weight, op.norm);
    Rows gate;
    for (const Linear& linear : op.outputs) {
      Rows y = multiply(linear.weight, 0, x);
      if (linear.bias != kAbsent) add_bias(weight_row(linear.bias, 0), y);
      if (op.activation == Activation::kNone) {
        store(y, linear.add, linear.out);
      } else if (gate.empty()) {
        gate = std::move(y);
      } else {
        for (size_t row = 0; row < y.size(); ++row) apply_gate(gate[row], y[row]);
        store(y, op.outputs[0].add, op.outputs[0].out);
      }
    }
  }

  void run(const CacheAppend& op) {
    const Heads& heads = program_.layers[op.layer];
    const Rope& rope = program_.ropes[op.rope];
    const auto turn = [&](float* head, const Norm& norm, uint32_t position) {
      if (norm.weight != kAbsent) rms_norm(head, weight_row(norm.weight, 0), norm.epsilon);
      rotate(head, rope, position);
    };
    for (size_t row = 0; row < batch_->tokens.size(); ++row) {
      const uint32_t position = batch_->positions[row];
      for (uint32_t h = 0; h < heads.queries; ++h) {
        turn(at(op.q, row * heads.queries + h, heads.key_width), op.q_norm, position);
      }
      for (uint32_t h = 0; h < heads.keys; ++h) {
        float* k = at(op.k, row * heads.keys + h, heads.key_width);
        turn(k, op.k_norm, position);
        std::copy_n(k, heads.key_width, cache_.key(op.layer, block(row, position), position, h));
        std::copy_n(at(op.v, row * heads.keys + h, heads.value_width), heads.value_width,
                    cache_.value(op.layer, block(row, position), position, h));
      }
    }
  }

  void run(const Attention& op) {
    for (size_t row = 0; row < batch_->tokens.size(); ++row) {
      for (uint32_t h = 0; h < program_.layers[op.layer].queries; ++h) attend(op, row, h);
    }
  }

  // out_h = Σ_j softmax_j(scale · q_h · k_j) v_j over the positions j up to the row's own.
  void attend(const Attention& op, size_t row, uint32_t h) {
    const Heads& heads = program_.layers[op.layer];
    const uint32_t kv_head = h / (heads.queries / heads.keys);
    const float* q = at(op.q, row * heads.queries + h, heads.key_width);
    std::vector<double> scores;
    for (uint32_t j = 0; j <= batch_->positions[row]; ++j) {
      scores.push_back(op.scale *
                       dot(q, cache_.key(op.layer, block(row, j), j, kv_head), heads.key_width));
    }
    const std::vector<double> p = softmax(std::move(scores));
    std::vector<double> out(heads.value_width);
    for (uint32_t j = 0; j < p.size(); ++j) {
      const float* v = cache_.value(op.layer, block(row, j), j, kv_head);
      for (size_t d = 0; d < out.size(); ++d) out[d] += p[j] * v[d];
    }
    std::ranges::copy(out, at(op.out, row * heads.queries + h, heads.value_width));
  }

  void run(const Experts& op) {
    const Rows x = normalized(op.in, op.router, op.norm);
    const Rows logits = multiply(op.router, 0, x);
    Rows y;
    for (size_t row = 0; row < x.size(); ++row) y.push_back(mixture(op, x[row], logits[row]));
    store(y, op.add, op.out);
  }

  // Σ p_e · down_e(silu(gate_e x) * up_e x). The softmax over all experts, divided by the sum of
  // the chosen ones, is the softmax over the chosen ones.
  Row mixture(const Experts& op, const Row& x, const Row& logits) const {
    std::vector<uint32_t> chosen = rank(logits);
    chosen.resize(op.used);
    std::vector<double> scores;
    for (const uint32_t expert : chosen) scores.push_back(logits[expert]);
    const std::vector<double> p = softmax(std::move(scores));
    std::vector<double> sum(weights_[op.down].shape[1]);
    for (size_t i = 0; i < chosen.size(); ++i) {
      Rows hidden = multiply(op.up, chosen[i], {x});
      apply_gate(multiply(op.gate, chosen[i], {x})[0], hidden[0]);
      const Rows y = multiply(op.down, chosen[i], hidden);
      for (size_t d = 0; d < sum.size(); ++d) sum[d] += p[i] * y[0][d];
    }
    return Row(sum.begin(), sum.end());
  }

  void run(const SelectLogitRows& op) {
    const size_t width = program_.values[op.in].width;
    for (size_t i = 0; i < batch_->logit_rows.size(); ++i) {
      std::copy_n(at(op.in, batch_->logit_rows[i], width), width, at(op.out, i, width));
    }
  }

  // Row `row` of a weight; the rows of expert e start at e * out.
  Row weight_row(WeightId id, size_t row) const {
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
    const size_t count =
        rows_of(program_.values[id], batch_->tokens.size(), batch_->logit_rows.size());
    for (size_t row = 0; row < count; ++row) {
      x.emplace_back(at(id, row, width), at(id, row, width) + width);
      if (norm.weight != kAbsent) rms_norm(x[row].data(), weight_row(norm.weight, 0), norm.epsilon);
    }
    return x;
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

  static void add_bias(const Row& bias, Rows& y) {
    for (Row& row : y) std::ranges::transform(row, bias, row.begin(), std::plus<>());
  }

  // up = silu(gate) * up.
  static void apply_gate(const Row& gate, Row& up) {
    for (size_t i = 0; i < up.size(); ++i) up[i] *= silu(gate[i]);
  }

  // out = y (+ add).
  void store(const Rows& y, ValueId add, ValueId out) {
    for (size_t row = 0; row < y.size(); ++row) {
      for (size_t i = 0; i < y[row].size(); ++i) {
        const float before = add == kAbsent ? 0 : at(add, row, y[row].size())[i];
        at(out, row, y[row].size())[i] = before + y[row][i];
      }
    }
  }

  // Row `row` of a value that is packed at `width`.
  float* at(ValueId id, size_t row, size_t width) const {
    return reinterpret_cast<float*>(values_[id].data()) + row * width;
  }
  uint32_t block(size_t row, uint32_t position) const {
    return batch_->block_tables[batch_->sequences[row]][position / kBlockPositions];
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
                                            uint32_t blocks) override {
    auto cache = std::make_unique<ReferenceCache>(program);
    QUERN_CHECK(cache->allocate(blocks));
    return cache;
  }
  Result<std::unique_ptr<Executable>> compile(const Program& program,
                                              std::span<const gguf::TensorView> weights,
                                              Cache& cache, const MaxBatch& max, WeightHome,
                                              const std::function<void(WeightId)>&) override {
    auto executable = std::make_unique<ReferenceExecutable>(program, weights,
                                                            static_cast<ReferenceCache&>(cache));
    QUERN_CHECK(executable->allocate(max));
    return executable;
  }
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace quern::kernels

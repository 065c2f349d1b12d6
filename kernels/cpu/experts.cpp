// Mixture of experts: tokens are gathered by expert, so that every expert's matrices are read once
// for all tokens that chose it; the results of a token are summed in rank order.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/cpu/activations.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/routing.h"

namespace quern::kernels::cpu {
namespace {

// Tokens of one expert: its slots.
struct Bucket {
  size_t expert;
  TokenRun slots;
};

class Mixture {
 public:
  Mixture(const Experts& op, Context& context)
      : op_(op),
        context_(context),
        rows_(context.rows(op.in)),
        parts_(context.program, op, rows_),
        router_(context.weights[op.router]),
        gate_(context.weights[op.gate]),
        up_(context.weights[op.up]),
        down_(context.weights[op.down]) {}

  void run() {
    const float* x = context_.value(op_.in);
    const size_t width = context_.width(op_.in);
    const auto prepare = [&](const Norm& norm, InputForms forms) {
      return prepare_input(x, width, rows_, norm, context_.floats(context_.workspace.normed), forms,
                           context_.memory + context_.workspace.forms, context_);
    };
    const bool own_norm = op_.routing.norm.weight != kAbsent;
    LinearInput input = prepare(own_norm ? op_.routing.norm : op_.norm, form_of(router_));
    const LinearTask route{.input = input,
                           .matrix = Matrix::of(router_),
                           .bias = context_.vector(op_.routing.bias),
                           .scale = op_.routing.logit_scale,
                           .out = floats(parts_.router_logits)};
    run_linear({&route, 1}, context_);
    if (own_norm) input = prepare(op_.norm, {});
    context_.pool.run(rows_, [&](size_t row, size_t) { choose(row); });
    const std::vector<Bucket> buckets = gather(input);
    run_experts(buckets);
    context_.pool.run(rows_, [&](size_t row, size_t) { combine(row); });
  }

 private:
  // The `used` best experts of a row, and their shares.
  void choose(size_t row) {
    const size_t count = router_.tensor.rows();
    float* logits = floats(parts_.router_logits) + row * count;
    uint32_t* chosen = ids(parts_.chosen) + row * op_.used;
    float* shares = floats(parts_.shares) + row * op_.used;
    choose_experts({logits, count}, op_.routing, context_.vector(op_.routing.selection_bias),
                   {chosen, op_.used}, shares);
    const float* factors = context_.vector(op_.routing.factors);
    for (uint32_t i = 0; factors && i < op_.used; ++i) shares[i] *= factors[chosen[i]];
  }

  // Orders (row, rank) pairs by expert and copies each row's input into its slots.
  std::vector<Bucket> gather(const LinearInput& input) {
    const size_t total = rows_ * op_.used;
    const uint32_t* chosen = ids(parts_.chosen);
    std::vector<size_t> next(router_.tensor.rows() + 1, 0);
    for (size_t i = 0; i < total; ++i) ++next[chosen[i] + 1];
    std::partial_sum(next.begin(), next.end(), next.begin());
    std::vector<Bucket> buckets;
    for (size_t expert = 0; expert < router_.tensor.rows(); ++expert) {
      if (next[expert] < next[expert + 1]) {
        buckets.push_back({expert, {next[expert], next[expert + 1]}});
      }
    }
    for (size_t i = 0; i < total; ++i) {
      const size_t slot = next[chosen[i]]++;
      ids(parts_.slot_of)[i] = static_cast<uint32_t>(slot);
      ids(parts_.slots)[slot] = static_cast<uint32_t>(i / op_.used);
    }
    context_.pool.run(total, [&](size_t slot, size_t) {
      std::memcpy(floats(parts_.inputs) + slot * input.values,
                  input.floats + ids(parts_.slots)[slot] * input.values,
                  input.values * sizeof(float));
    });
    return buckets;
  }

  void run_experts(const std::vector<Bucket>& buckets) {
    const size_t total = rows_ * op_.used, hidden_width = gate_.tensor.shape[1];
    std::vector<TokenRun> runs;
    for (const Bucket& bucket : buckets) runs.push_back(bucket.slots);
    const LinearInput input =
        prepare_input(floats(parts_.inputs), gate_.tensor.shape[0], total, Norm{}, nullptr,
                      form_of(gate_) | form_of(up_), bytes(parts_.input_forms), context_, runs);
    std::vector<Matrix> ups;
    for (const Bucket& bucket : buckets) ups.push_back(matrix_of(up_, bucket, fused()));
    std::vector<LinearTask> tasks;
    for (size_t i = 0; i < buckets.size(); ++i) {
      tasks.push_back({.input = input.part(buckets[i].slots),
                       .matrix = matrix_of(gate_, buckets[i], 0),
                       .up = &ups[i],
                       .bias = bias(op_.gate_bias, index(buckets[i], 0), hidden_width),
                       .up_bias = bias(op_.up_bias, index(buckets[i], fused()), hidden_width),
                       .activation = op_.activation,
                       .out = floats(parts_.hidden) + buckets[i].slots.begin * hidden_width});
    }
    run_linear(tasks, context_);

    const LinearInput hidden =
        prepare_input(floats(parts_.hidden), hidden_width, total, Norm{}, nullptr, form_of(down_),
                      bytes(parts_.hidden_forms), context_, runs);
    tasks.clear();
    for (const Bucket& bucket : buckets) {
      tasks.push_back({.input = hidden.part(bucket.slots),
                       .matrix = Matrix::of(down_, bucket.expert),
                       .bias = bias(op_.down_bias, bucket.expert, down_.tensor.shape[1]),
                       .out = floats(parts_.outputs) + bucket.slots.begin * down_.tensor.shape[1]});
    }
    run_linear(tasks, context_);
  }

  static InputForms form_of(const Weight& weight) { return InputForms::of(weight.tensor.format); }

  // What belongs to an expert in a bias of all experts.
  const float* bias(WeightId id, size_t matrix, size_t width) const {
    const float* all = context_.vector(id);
    return all ? all + matrix * width : nullptr;
  }

  // Gate and up of an expert lie in one stack, one after the other.
  bool fused() const { return op_.gate == op_.up; }
  size_t index(const Bucket& bucket, size_t part) const {
    return fused() ? 2 * bucket.expert + part : bucket.expert;
  }
  Matrix matrix_of(const Weight& weight, const Bucket& bucket, size_t part) const {
    Matrix matrix = Matrix::of(weight, index(bucket, part));
    matrix.expert = bucket.expert;
    return matrix;
  }

  void combine(size_t row) {
    const size_t width = down_.tensor.shape[1];
    float* out = context_.value(op_.out) + row * width;
    const float* add = op_.add == kAbsent ? nullptr : context_.value(op_.add) + row * width;
    const float* shares = floats(parts_.shares) + row * op_.used;
    const uint32_t* slot_of = ids(parts_.slot_of) + row * op_.used;
    for (size_t i = 0; i < width; ++i) {
      float sum = 0;
      for (uint32_t rank = 0; rank < op_.used; ++rank) {
        sum += shares[rank] * floats(parts_.outputs)[slot_of[rank] * width + i];
      }
      out[i] = add ? add[i] + sum : sum;
    }
  }

  std::byte* bytes(size_t offset) const {
    return context_.memory + context_.workspace.experts + offset;
  }
  float* floats(size_t offset) const { return reinterpret_cast<float*>(bytes(offset)); }
  uint32_t* ids(size_t offset) const { return reinterpret_cast<uint32_t*>(bytes(offset)); }

  const Experts& op_;
  Context& context_;
  const size_t rows_;
  const ExpertsWorkspace parts_;
  const Weight& router_;
  const Weight& gate_;
  const Weight& up_;
  const Weight& down_;
};

}  // namespace

void run(const Experts& op, Context& context) { Mixture(op, context).run(); }

}  // namespace quern::kernels::cpu

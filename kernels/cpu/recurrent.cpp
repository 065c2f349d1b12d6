#include "kernels/cpu/recurrent.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cpu/context.h"
#include "kernels/cpu/recurrent_kernels.h"
#include "kernels/cpu/vector_math.h"

namespace quern::kernels::cpu {
namespace {

constexpr size_t kConvColumns = 1024;  // of one item

// The rows [begin, end) of one sequence, and its state before and after them.
struct Run {
  size_t begin, end;
  const float* from;  // null: zeros
  float* to;
};

std::vector<Run> runs(uint32_t state, const Context& context) {
  const Batch& batch = *context.batch;
  std::vector<Run> all;
  for (size_t begin = 0, end; begin < batch.tokens.size(); begin = end) {
    end = batch.sequence_end(begin);
    const StateSlots& slots = batch.states[batch.sequences[begin]];
    const States& states = context.cache.states();
    all.push_back({begin, end, slots.from == kAbsent ? nullptr : states.at(slots.from, state),
                   states.at(slots.to, state)});
  }
  return all;
}

float sigmoid(float x) { return static_cast<float>(1 / (1 + std::exp(-double{x}))); }

float softplus(float x) { return x > 20 ? x : static_cast<float>(std::log1p(std::exp(double{x}))); }

// x = x * scale / max(|x|, epsilon).
void to_length(float* x, size_t count, float scale, float epsilon) {
  double squares = 0;
  for (size_t i = 0; i < count; ++i) squares += double{x[i]} * x[i];
  const auto factor =
      static_cast<float>(scale / std::max(std::sqrt(squares), static_cast<double>(epsilon)));
  for (size_t i = 0; i < count; ++i) x[i] *= factor;
}

// What one thread keeps while a strip goes through the rows of a sequence.
struct Strip {
  float* s;  // [size][kStripColumns]
  float in[kStripColumns] = {}, out[kStripColumns] = {};
  size_t first, count;  // columns of the matrix

  // Of a state matrix [size][width].
  void load(const float* matrix, size_t size, size_t width) {
    std::fill_n(s, size * kStripColumns, 0.0f);
    for (size_t r = 0; matrix && r < size; ++r) {
      std::memcpy(s + r * kStripColumns, matrix + r * width + first, count * sizeof(float));
    }
  }
  void store(float* matrix, size_t size, size_t width) const {
    for (size_t r = 0; r < size; ++r) {
      std::memcpy(matrix + r * width + first, s + r * kStripColumns, count * sizeof(float));
    }
  }
};

// The state of all heads, [heads][size][width], steps through the rows of every sequence:
// step(row, head, strip) turns strip.in, its columns of `in`, into strip.out, its columns of `out`.
struct Recurrence {
  uint32_t state;
  size_t heads, size, width;
  const float* in;  // of row 0 and head 0
  size_t in_stride;
  float* out;  // [rows][heads][width]

  template <typename Step>
  void run(Context& context, const Step& step) const {
    const std::vector<Run> all = runs(state, context);
    const size_t strips = (width + kStripColumns - 1) / kStripColumns;
    context.pool.run(all.size() * heads * strips, [&](size_t item, size_t worker) {
      const Run& sequence = all[item / (heads * strips)];
      const size_t head = item / strips % heads, matrix = head * size * width;
      Strip strip{.s = reinterpret_cast<float*>(context.scratch(worker)),
                  .first = item % strips * kStripColumns,
                  .count = std::min(kStripColumns, width - item % strips * kStripColumns)};
      strip.load(sequence.from ? sequence.from + matrix : nullptr, size, width);
      for (size_t row = sequence.begin; row < sequence.end; ++row) {
        const size_t column = head * width + strip.first;
        std::copy_n(in + row * in_stride + column, strip.count, strip.in);
        step(row, head, strip);
        std::copy_n(strip.out, strip.count, out + row * heads * width + column);
      }
      strip.store(sequence.to + matrix, size, width);
    });
  }
};

// The inputs of a convolution, and what it remembers of them.
class Convolution {
 public:
  Convolution(const CausalConv& op, Context& context)
      : op_(op),
        width_(context.width(op.out)),
        past_(op.taps - 1),
        in_(context.value(op.in)),
        before_(op.before == kAbsent ? nullptr : context.value(op.before)),
        context_(context) {}

  // out of one row, columns [first, first + count).
  void compute(const Run& run, size_t row, size_t first, size_t count) const {
    ConvSum sum{.taps = op_.taps,
                .count = count,
                .rows = {},
                .before = {},
                .weight = context_.vector(op_.weight) + first * op_.taps,
                .bias = op_.bias == kAbsent ? nullptr : context_.vector(op_.bias) + first,
                .out = context_.value(op_.out) + row * width_ + first};
    for (size_t j = 0; j < op_.taps; ++j) {
      const size_t reached = row + j;  // the row, and `past_` more
      if (reached >= run.begin + past_) {
        sum.rows[j] = in_ + (reached - past_) * width_ + first;
        if (before_) sum.before[j] = before_ + (reached - past_) * width_ + first;
      } else if (run.from) {
        sum.rows[j] = run.from + (reached - run.begin) * width_ + first;
      }
    }
    conv_sum(sum);
    activate(op_.activation, sum.out, nullptr, count);
    if (op_.after == kAbsent) return;
    const float* after = context_.value(op_.after) + row * width_ + first;
    for (size_t i = 0; i < count; ++i) sum.out[i] *= after[i];
  }

  // Row `kept` of the state after the run, columns [first, first + count).
  void remember(const Run& run, size_t kept, size_t first, size_t count) const {
    float* to = run.to + kept * width_ + first;
    const size_t rows = run.end - run.begin, reached = rows + kept;
    if (reached >= past_) {
      const size_t row = (run.begin + reached - past_) * width_ + first;
      for (size_t i = 0; i < count; ++i)
        to[i] = before_ ? in_[row + i] * before_[row + i] : in_[row + i];
    } else if (run.from) {
      std::copy_n(run.from + reached * width_ + first, count, to);
    } else {
      std::fill_n(to, count, 0.0f);
    }
  }

  void run() const {
    const size_t chunks = (width_ + kConvColumns - 1) / kConvColumns;
    for (const Run& sequence : runs(op_.state, context_)) {
      const size_t rows = sequence.end - sequence.begin;
      context_.pool.run((rows + past_) * chunks, [&](size_t item, size_t) {
        const size_t first = item % chunks * kConvColumns, index = item / chunks;
        const size_t count = std::min(kConvColumns, width_ - first);
        if (index < rows) {
          compute(sequence, sequence.begin + index, first, count);
        } else {
          remember(sequence, index - rows, first, count);
        }
      });
    }
  }

 private:
  const CausalConv& op_;
  const size_t width_, past_;
  const float *in_, *before_;  // [rows][width]
  Context& context_;
};

}  // namespace

size_t recurrent_scratch_bytes(const Program& program) {
  size_t rows = 0;
  for (const Op& op : program.ops) {
    if (const auto* delta = std::get_if<GatedDelta>(&op))
      rows = std::max<size_t>(rows, delta->width);
    if (const auto* scan = std::get_if<SelectiveScan>(&op)) {
      rows = std::max<size_t>(rows, scan->state_width);
    }
  }
  return rows * kStripColumns * sizeof(float);
}

void run(const CausalConv& op, Context& context) { Convolution(op, context).run(); }

void run(const GatedDelta& op, Context& context) {
  const size_t width = op.width, keys = op.key_heads * width, heads = op.value_heads;
  const size_t stride = 2 * keys + heads * width;
  float *mixed = context.value(op.mixed), *decay = context.value(op.decay);
  float* beta = context.value(op.beta);
  const float *a = context.vector(op.a), *bias = context.vector(op.decay_bias);
  const float scale = 1 / std::sqrt(static_cast<float>(width));
  context.pool.run(context.rows(op.mixed), [&](size_t row, size_t) {
    for (size_t j = 0; j < 2 * op.key_heads; ++j) {
      to_length(mixed + row * stride + j * width, width, j < op.key_heads ? scale : 1, op.epsilon);
    }
    for (size_t i = row * heads; i < (row + 1) * heads; ++i) {
      decay[i] = std::exp(a[i % heads] * softplus(decay[i] + bias[i % heads]));
      beta[i] = sigmoid(beta[i]);
    }
  });
  const Recurrence recurrence{
      op.state, heads, width, width, mixed + 2 * keys, stride, context.value(op.out)};
  recurrence.run(context, [&](size_t row, size_t head, Strip& strip) {
    const float* q = mixed + row * stride + head % op.key_heads * width;
    delta_step({strip.s, width, decay[row * heads + head], q + keys, q}, beta[row * heads + head],
               strip.in, strip.out);
  });
}

void run(const SelectiveScan& op, Context& context) {
  const size_t heads = op.heads, inner = heads * op.width;
  const size_t stride = inner + 2 * size_t{op.groups} * op.state_width;
  const float* mixed = context.value(op.mixed);
  float* step = context.value(op.step);
  const float *a = context.vector(op.a), *bias = context.vector(op.step_bias);
  const float* skip = context.vector(op.skip);
  for (size_t i = 0; i < context.rows(op.step) * heads; ++i) {
    step[i] = softplus(step[i] + bias[i % heads]);
  }
  const Recurrence recurrence{op.state, heads,  op.state_width,       op.width,
                              mixed,    stride, context.value(op.out)};
  recurrence.run(context, [&](size_t row, size_t head, Strip& strip) {
    const float delta = step[row * heads + head];
    const size_t group = head / (heads / op.groups);
    const float* write = mixed + row * stride + inner + group * op.state_width;
    const float* read = write + op.groups * op.state_width;
    scan_step({strip.s, op.state_width, std::exp(delta * a[head]), write, read}, delta, skip[head],
              strip.in, strip.out);
  });
}

}  // namespace quern::kernels::cpu

#include "kernels/cpu/workspace.h"

#include <algorithm>
#include <variant>

#include "kernels/cpu/activations.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/recurrent.h"

namespace quern::kernels::cpu {
namespace {

// Hands out consecutive, aligned ranges.
class Arena {
 public:
  size_t take(size_t bytes) {
    const size_t start = used_;
    used_ = align_up(used_ + bytes);
    return start;
  }
  size_t take_floats(size_t count) { return take(count * sizeof(float)); }
  size_t take_ids(size_t count) { return take(count * sizeof(uint32_t)); }
  size_t used() const { return used_; }

 private:
  size_t used_ = 0;
};

size_t rows_of(const Program& program, ValueId id, const MaxBatch& max) {
  return program.values[id].rows == ValueInfo::Rows::kBatch ? max.rows : max.logit_rows;
}

InputForms form_of(const Program& program, WeightId weight) {
  return InputForms::of(program.weights[weight].format);
}

// The largest input of any projection, normalized and in all its forms, and what Experts and
// attention need.
struct Largest {
  size_t normed = 0, forms = 0, experts = 0, head_products = 0, partials = 0, scratch = 0;

  Largest(const Program& program, const MaxBatch& max) {
    scratch = linear_scratch_bytes(max.rows);
    for (const Op& op : program.ops) {
      if (const auto* projection = std::get_if<Projection>(&op)) {
        take_input(program, projection->in, max, input_forms(program, *projection));
      } else if (const auto* branch = std::get_if<AddNormed>(&op)) {
        take_input(program, branch->in, max);
      } else if (const auto* embed = std::get_if<Embed>(&op)) {
        take_input(program, embed->out, max);
      } else if (const auto* mixture = std::get_if<Experts>(&op)) {
        take_input(program, mixture->in, max, form_of(program, mixture->router));
        experts = std::max(experts, ExpertsWorkspace(program, *mixture, max.rows).bytes);
        scratch = std::max(scratch, linear_scratch_bytes(size_t{max.rows} * mixture->used));
      } else if (const auto* gated = std::get_if<GatedNorm>(&op)) {
        take_input(program, gated->x, max);
      } else if (const auto* product = std::get_if<HeadProduct>(&op)) {
        take_heads(program, *product, max);
      }
    }
    scratch = std::max(scratch, recurrent_scratch_bytes(program));
    for (const Heads& heads : program.layers) {
      if (heads.keys == 0) continue;
      const TileLayout layout(heads, CacheType::kF32);  // its floats do not depend on the type
      partials = std::max(partials, attention_partial_bytes(heads, layout, max));
      scratch = std::max(scratch, attention_scratch_bytes(heads, layout));
    }
  }

  void take_input(const Program& program, ValueId id, const MaxBatch& max, InputForms wanted = {}) {
    const size_t width = program.values[id].width, rows = rows_of(program, id, max);
    normed = std::max(normed, width * rows * sizeof(float));
    forms = std::max(forms, wanted.bytes(width, rows));
  }

  void take_heads(const Program& program, const HeadProduct& op, const MaxBatch& max) {
    const auto [in, out, heads, _] = program.weights[op.weight].shape;
    const size_t rows = heads * rows_of(program, op.in, max);
    normed = std::max(normed, in * rows * sizeof(float));
    forms = std::max(forms, form_of(program, op.weight).bytes(in, rows));
    head_products = std::max(head_products, out * rows * sizeof(float));
  }
};

}  // namespace

Workspace::Workspace(const Program& program, const MaxBatch& max, size_t threads) {
  Arena arena;
  for (ValueId id = 0; id < program.values.size(); ++id) {
    values.push_back(arena.take_floats(program.values[id].width * rows_of(program, id, max)));
  }
  for (const Rope& rope : program.ropes) {
    turns.push_back(arena.take_floats(rope.frequencies.size() * 2 * max.rows));
  }
  for (const WeightInfo& weight : program.weights) {
    vectors.push_back(weight.out() == 1 ? arena.take_floats(weight.in()) : kNotVector);
  }
  const Largest largest(program, max);
  normed = arena.take(largest.normed);
  forms = arena.take(largest.forms);
  experts = arena.take(largest.experts);
  head_products = arena.take(largest.head_products);
  partials = arena.take(largest.partials);
  scratch_bytes = align_up(largest.scratch);
  scratch = arena.take(scratch_bytes * threads);
  bytes = arena.used();
}

ExpertsWorkspace::ExpertsWorkspace(const Program& program, const Experts& op, size_t rows) {
  const size_t count = program.weights[op.router].out();
  const size_t in = program.weights[op.gate].in(), hidden_width = program.weights[op.gate].out();
  const size_t out = program.weights[op.down].out();
  const size_t total = rows * op.used;
  Arena arena;
  router_logits = arena.take_floats(rows * count);
  chosen = arena.take_ids(total);
  shares = arena.take_floats(total);
  slot_of = arena.take_ids(total);
  slots = arena.take_ids(total);
  inputs = arena.take_floats(total * in);
  input_forms = arena.take((form_of(program, op.gate) | form_of(program, op.up)).bytes(in, total));
  hidden = arena.take_floats(total * hidden_width);
  hidden_forms = arena.take(form_of(program, op.down).bytes(hidden_width, total));
  outputs = arena.take_floats(total * out);
  bytes = arena.used();
}

}  // namespace quern::kernels::cpu

#include "bench/work.h"

#include <algorithm>
#include <cmath>

namespace quern::bench {
namespace {

using namespace kernels;

double bytes_per_value(CacheType type) {
  switch (type) {
    case CacheType::kF32:
      return 4;
    case CacheType::kF16:
      return 2;
    case CacheType::kQ8_0:
      return 34.0 / 32;  // a scale of two bytes per 32 values
  }
  return 0;
}

double cache_bytes(const Heads& heads, CacheType type) {
  return static_cast<double>(heads.keys) * (heads.key_width + heads.value_width) *
         bytes_per_value(type);
}

// What one operation does; every kind of operation is a function of this object.
struct Counter {
  const Program& program;
  CacheType cache;
  const Rows& rows;

  double count(ValueId value) const {
    const bool logits = program.values[value].rows == ValueInfo::Rows::kLogits;
    return static_cast<double>(logits ? rows.logits : rows.count);
  }

  // A matrix, of which `share` is read, times `tokens` activations.
  Work matrix(WeightId id, double tokens, double share = 1) const {
    const WeightInfo& weight = program.weights[id];
    if (tokens == 0) return {};
    const double ops = 2 * tokens * static_cast<double>(weight.in() * weight.out());
    const bool is_float = gguf::info(weight.format).is_float();
    return {share * static_cast<double>(weight.bytes()), is_float ? 0 : ops, is_float ? ops : 0};
  }

  Work operator()(const Embed& op) const {
    const WeightInfo& table = program.weights[op.table];
    const auto row = static_cast<double>(gguf::info(table.format).row_bytes(table.in()));
    return {static_cast<double>(rows.count) * row, 0, 0};
  }

  Work operator()(const Projection& op) const {
    Work work;
    for (const Linear& linear : op.outputs) work += matrix(linear.weight, count(op.in));
    return work;
  }

  Work operator()(const AddNormed&) const { return {}; }
  Work operator()(const SoftCap&) const { return {}; }
  Work operator()(const CacheAppend&) const { return {}; }

  // Every row sees the positions up to its own, those in its window.
  Work operator()(const Attention& op) const {
    const Heads& heads = program.layers[op.layer];
    const auto first = static_cast<double>(rows.first), n = static_cast<double>(rows.count);
    double pairs = n * first + n * (n + 1) / 2, positions = first + n;
    if (op.window > 0 && op.window < positions) {
      pairs = 0;
      for (double seen = first + 1; seen <= first + n; ++seen)
        pairs += std::min<double>(seen, op.window);
      positions = std::min(positions, op.window + n - 1);
    }
    return {positions * cache_bytes(heads, cache),
            2 * pairs * heads.queries * (heads.key_width + heads.value_width), 0};
  }

  // Of E experts, n tokens that choose k each are expected to need E (1 - (1 - k/E)^n).
  Work operator()(const Experts& op) const {
    const double tokens = count(op.in);
    const auto experts = static_cast<double>(program.weights[op.gate].shape[2]);
    const double share = 1 - std::pow(1 - op.used / experts, tokens);
    Work work = matrix(op.router, tokens);
    for (const WeightId id : {op.gate, op.up, op.down}) work += matrix(id, tokens * op.used, share);
    return work;
  }

  Work operator()(const GatedNorm&) const { return {}; }
  Work operator()(const Arrange&) const { return {}; }
  Work operator()(const HeadProduct& op) const {
    Work work = matrix(op.weight, count(op.in));
    const auto heads = static_cast<double>(program.weights[op.weight].shape[2]);
    return {work.bytes, work.int8_ops * heads, work.fp32_ops * heads};
  }
  Work operator()(const CausalConv& op) const {
    return {0, 0, 2 * count(op.in) * op.taps * program.values[op.in].width};
  }
  // A state is read and written once per step, and each of its values takes part in `ops` sums.
  Work recurrence(uint32_t state, ValueId in, double ops) const {
    const double floats = program.states[state];
    return {2 * sizeof(float) * floats, 0, ops * floats * count(in)};
  }
  Work operator()(const GatedDelta& op) const { return recurrence(op.state, op.mixed, 7); }
  Work operator()(const SelectiveScan& op) const { return recurrence(op.state, op.mixed, 5); }
  Work operator()(const SelectLogitRows&) const { return {}; }
};

// "blk.3.attn_q.weight" -> "attn_q". A matrix that is applied although it is the embedding is tied
// to the output.
std::string stem(const std::string& name) {
  if (name == "token_embd.weight") return "output";
  size_t begin = 0;
  if (name.starts_with("blk.")) begin = name.find('.', 4) + 1;
  return name.substr(begin, name.rfind('.') - begin);
}

struct Label {
  const Program& program;

  std::string operator()(const Embed&) const { return "embedding"; }
  std::string operator()(const Projection& op) const {
    std::string text;
    for (const Linear& linear : op.outputs) {
      text += (text.empty() ? "" : "+") + stem(program.weights[linear.weight].name);
    }
    return text;
  }
  std::string operator()(const AddNormed&) const { return "norm+add"; }
  std::string operator()(const SoftCap&) const { return "softcap"; }
  std::string operator()(const CacheAppend&) const { return "rope+cache"; }
  std::string operator()(const Attention&) const { return "attention"; }
  std::string operator()(const Experts&) const { return "experts"; }
  std::string operator()(const GatedNorm&) const { return "gated norm"; }
  std::string operator()(const Arrange&) const { return "arrange"; }
  std::string operator()(const HeadProduct& op) const {
    return stem(program.weights[op.weight].name);
  }
  std::string operator()(const CausalConv&) const { return "short convolution"; }
  std::string operator()(const GatedDelta&) const { return "gated delta"; }
  std::string operator()(const SelectiveScan&) const { return "selective scan"; }
  std::string operator()(const SelectLogitRows&) const { return "select"; }
};

}  // namespace

Work& Work::operator+=(const Work& other) {
  bytes += other.bytes;
  int8_ops += other.int8_ops;
  fp32_ops += other.fp32_ops;
  return *this;
}

Work work_of(const Op& op, const Program& program, CacheType cache, const Rows& rows) {
  return std::visit(Counter{program, cache, rows}, op);
}

Work work_of(const Program& program, CacheType cache, const Rows& rows) {
  Work work;
  for (const Op& op : program.ops) work += work_of(op, program, cache, rows);
  return work;
}

double cache_bytes_per_position(const Program& program, CacheType cache) {
  double bytes = 0;
  for (const Heads& heads : program.layers) bytes += cache_bytes(heads, cache);
  return bytes;
}

Roofline roofline(const Work& work, const MachineProfile& machine) {
  const auto time = [](double amount, double rate) { return rate > 0 ? amount / rate : 0; };
  return {time(work.bytes, machine.read_bandwidth_all),
          time(work.int8_ops, machine.int8_peak) + time(work.fp32_ops, machine.fp32_peak)};
}

std::string label(const Op& op, const Program& program) { return std::visit(Label{program}, op); }

}  // namespace quern::bench

#include "kernels/work.h"

#include <algorithm>
#include <cmath>

namespace quern::kernels {
namespace {

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
  return static_cast<double>(heads.keys) * (heads.key_width + heads.kept_values()) *
         bytes_per_value(type);
}

// Rows of a value.
double count(const Program& program, const Rows& rows, ValueId value) {
  const bool logits = program.values[value].rows == ValueInfo::Rows::kLogits;
  return static_cast<double>(logits ? rows.logits : rows.count);
}

// The matrices of an operation.
class MatrixCounter {
 public:
  MatrixCounter(const Program& program, const Rows& rows) : program_(program), rows_(rows) {}

  std::vector<MatrixWork> of(const Op& op) {
    if (const auto* projection = std::get_if<Projection>(&op)) count_all(*projection);
    if (const auto* experts = std::get_if<Experts>(&op)) count_all(*experts);
    if (const auto* product = std::get_if<HeadProduct>(&op)) count_all(*product);
    return std::move(all_);
  }

 private:
  double tokens(ValueId value) const { return count(program_, rows_, value); }

  // A matrix, of which `share` is read, times `tokens` activations.
  void add(WeightId id, double tokens, double share = 1) {
    const WeightInfo& weight = program_.weights[id];
    if (tokens == 0) return;
    all_.push_back({id, share * static_cast<double>(weight.bytes()),
                    2 * tokens * static_cast<double>(weight.in() * weight.out())});
  }

  void count_all(const Projection& op) {
    for (const Linear& linear : op.outputs) add(linear.weight, tokens(op.in));
  }

  // Of E experts, n tokens that choose k each are expected to need E (1 - (1 - k/E)^n).
  void count_all(const Experts& op) {
    const double n = tokens(op.in);
    const auto experts = static_cast<double>(program_.weights[op.router].out());
    const double share = 1 - std::pow(1 - op.used / experts, n);
    const double half = op.gate == op.up ? 0.5 : 1;  // each is a half of their tensor
    add(op.router, n);
    for (const WeightId id : {op.gate, op.up}) add(id, n * op.used, half * share);
    add(op.down, n * op.used, share);
  }

  // One matrix for each head.
  void count_all(const HeadProduct& op) {
    const auto heads = static_cast<double>(program_.weights[op.weight].shape[2]);
    add(op.weight, tokens(op.in) * heads);
  }

  const Program& program_;
  const Rows& rows_;
  std::vector<MatrixWork> all_;
};

// What one operation does; every kind of operation is a function of this object.
struct Counter {
  const Program& program;
  CacheType cache;
  const Rows& rows;

  Work matrices(const Op& op) const {
    Work work;
    for (const MatrixWork& matrix : MatrixCounter(program, rows).of(op)) {
      const bool is_float = gguf::info(program.weights[matrix.weight].format).is_float();
      work += {matrix.bytes, is_float ? 0 : matrix.ops, is_float ? matrix.ops : 0};
    }
    return work;
  }

  Work operator()(const Embed& op) const {
    const WeightInfo& table = program.weights[op.table];
    const auto row = static_cast<double>(gguf::info(table.format).row_bytes(table.in()));
    return {static_cast<double>(rows.count) * row, 0, 0};
  }

  Work operator()(const Projection& op) const { return matrices(op); }
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

  Work operator()(const Experts& op) const { return matrices(op); }
  Work operator()(const GatedNorm&) const { return {}; }
  Work operator()(const Arrange&) const { return {}; }
  Work operator()(const HeadProduct& op) const { return matrices(op); }
  Work operator()(const CausalConv& op) const {
    return {0, 0, 2 * count(program, rows, op.in) * op.taps * program.values[op.in].width};
  }
  // A state is read and written once per step, and each of its values takes part in `ops` sums.
  Work recurrence(uint32_t state, ValueId in, double ops) const {
    const double floats = program.states[state];
    return {2 * sizeof(float) * floats, 0, ops * floats * count(program, rows, in)};
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

std::vector<MatrixWork> matrices_of(const Op& op, const Program& program, const Rows& rows) {
  return MatrixCounter(program, rows).of(op);
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

}  // namespace quern::kernels

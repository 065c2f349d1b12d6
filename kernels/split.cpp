#include "kernels/split.h"

#include <algorithm>
#include <cassert>

#include "kernels/op_visit.h"

namespace quern::kernels {
namespace {

// Which values must be kept between two operations: those that are read again before they are next
// written.
class Liveness : public IdVisitor {
 public:
  explicit Liveness(const Program& program)
      : live_(program.values.size()), live_before_(program.ops.size() + 1) {
    const ValueId output = program.parts.front().output;
    live_[output] = true;
    live_before_.back() = {output};
    for (size_t i = program.ops.size(); i-- > 0;) {
      Op op = program.ops[i];
      reads_.clear();
      writes_.clear();
      visit_ids(op, *this);
      for (const ValueId id : writes_) live_[id] = false;
      for (const ValueId id : reads_) live_[id] = true;
      for (ValueId id = 0; id < live_.size(); ++id) {
        if (live_[id]) live_before_[i].push_back(id);
      }
    }
  }

  // Values written before operation `op` and read from there on.
  const std::vector<ValueId>& before(size_t op) const { return live_before_[op]; }

 private:
  void read(ValueId& id) override { reads_.push_back(id); }
  void write(ValueId& id) override { writes_.push_back(id); }
  void update(ValueId& id) override { read(id); }

  std::vector<bool> live_;
  std::vector<ValueId> reads_, writes_;
  std::vector<std::vector<ValueId>> live_before_;
};

// Copies operations into a device's program and gives it ids of its own for what they name.
class Extractor : public IdVisitor {
 public:
  Extractor(const Program& from, DeviceProgram& to)
      : from_(from),
        to_(to),
        values_(from.values.size(), kAbsent),
        weights_(from.weights.size(), kAbsent),
        ropes_(from.ropes.size(), kAbsent),
        layers_(from.layers.size(), kAbsent),
        states_(from.states.size(), kAbsent) {
    to_.program.windows = from.windows;  // block tables are numbered by them on every device
  }

  void add_part(size_t begin, size_t end, ValueId input, ValueId output) {
    Program& program = to_.program;
    Part part{.begin = program.ops.size()};
    for (size_t i = begin; i < end; ++i) {
      Op op = from_.ops[i];
      visit_ids(op, *this);
      program.ops.push_back(std::move(op));
      to_.ops.push_back(i);
    }
    part.end = program.ops.size();
    if (input != kAbsent) read(input);
    write(output);
    part.input = input;
    part.output = output;
    program.parts.push_back(part);
  }

 private:
  // The device's id for one of the whole program, which is added when it is first met.
  template <typename T>
  static void rename(uint32_t& id, std::vector<uint32_t>& known, const std::vector<T>& from,
                     std::vector<T>& to) {
    if (known[id] == kAbsent) {
      known[id] = static_cast<uint32_t>(to.size());
      to.push_back(from[id]);
    }
    id = known[id];
  }

  void read(ValueId& id) override { rename(id, values_, from_.values, to_.program.values); }
  void write(ValueId& id) override { read(id); }
  void update(ValueId& id) override { read(id); }
  void weight(WeightId& id) override {
    if (weights_[id] == kAbsent) to_.weights.push_back(id);
    rename(id, weights_, from_.weights, to_.program.weights);
  }
  void rope(uint32_t& id) override { rename(id, ropes_, from_.ropes, to_.program.ropes); }
  void layer(uint32_t& id) override { rename(id, layers_, from_.layers, to_.program.layers); }
  void state(uint32_t& id) override { rename(id, states_, from_.states, to_.program.states); }

  const Program& from_;
  DeviceProgram& to_;
  std::vector<uint32_t> values_, weights_, ropes_, layers_, states_;
};

// Where operations work with caches.
struct CacheUses : IdVisitor {
  explicit CacheUses(const Program& program)
      : first(program.layers.size(), SIZE_MAX), last(program.layers.size()) {
    for (; op < program.ops.size(); ++op) {
      Op copy = program.ops[op];
      visit_ids(copy, *this);
    }
  }
  void layer(uint32_t& id) override {
    first[id] = std::min(first[id], op);
    last[id] = op;
  }
  // Whether a cache is used both before and from operation `i` on.
  bool cut_by(size_t i) const {
    for (size_t id = 0; id < first.size(); ++id) {
      if (first[id] < i && i <= last[id]) return true;
    }
    return false;
  }

  std::vector<size_t> first, last;  // per layer
  size_t op = 0;
};

}  // namespace

std::vector<OpGroup> op_groups(const Program& program) {
  const Liveness live(program);
  const CacheUses caches(program);
  std::vector<OpGroup> groups;
  size_t begin = 0;
  for (size_t i = 1; i <= program.ops.size(); ++i) {
    if (i < program.ops.size() && (live.before(i).size() != 1 || caches.cut_by(i))) continue;
    groups.push_back({begin, i});
    begin = i;
  }
  return groups;
}

Split split(const Program& program, std::span<const size_t> device_of, size_t devices) {
  assert(program.parts.size() == 1);
  const Liveness live(program);
  const std::vector<OpGroup> groups = op_groups(program);
  assert(groups.size() == device_of.size());
  Split split{std::vector<DeviceProgram>(devices), {}};
  std::vector<Extractor> extractors;
  for (DeviceProgram& device : split.devices) extractors.emplace_back(program, device);
  for (size_t first = 0, last = 0; first < groups.size(); first = last) {
    const size_t device = device_of[first];
    while (last < groups.size() && device_of[last] == device) ++last;
    const size_t begin = groups[first].begin, end = groups[last - 1].end;
    split.turns.push_back({device, split.devices[device].program.parts.size()});
    extractors[device].add_part(begin, end, begin == 0 ? kAbsent : live.before(begin).front(),
                                live.before(end).front());
  }
  return split;
}

}  // namespace quern::kernels

// Split: cuts a program into what each of several devices computes.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/op.h"

namespace quern::kernels {

// Operations [begin, end) that are joined to the rest by one value at each end, so that another
// device can compute them at the price of moving that value: half a layer, as a rule. Operations on
// the same cache are never apart either.
struct OpGroup {
  size_t begin, end;
};
std::vector<OpGroup> op_groups(const Program& program);

// What one device computes: a program with ids of its own, and what they are in the whole one.
struct DeviceProgram {
  Program program;
  std::vector<WeightId> weights;
  std::vector<size_t> ops;
};

// Part `part` of device `device`'s program; its input is the output of the turn before.
struct Turn {
  size_t device, part;
};

struct Split {
  std::vector<DeviceProgram> devices;
  std::vector<Turn> turns;  // the whole program, in order
};

// `device_of[g]`: the device (below `devices`) of group g. Neighbouring groups on one device become
// one part. `program` is one part itself.
Split split(const Program& program, std::span<const size_t> device_of, size_t devices);

}  // namespace quern::kernels

// What an operation refers to: one function per operation of op.h, for everything that must know
// what is read and written without knowing what is computed.
#pragma once

#include "kernels/op.h"

namespace quern::kernels {

// Told every id that an operation names, each once. Ids may be changed; absent ones are not shown.
class IdVisitor {
 public:
  virtual ~IdVisitor() = default;
  virtual void read(ValueId&) {}
  virtual void write(ValueId&) {}
  virtual void update(ValueId&) {}  // read, and changed in place
  virtual void weight(WeightId&) {}
  virtual void rope(uint32_t&) {}   // index into Program::ropes
  virtual void layer(uint32_t&) {}  // index into Program::layers
  virtual void state(uint32_t&) {}  // index into Program::states
};

void visit_ids(Op& op, IdVisitor& visitor);

}  // namespace quern::kernels

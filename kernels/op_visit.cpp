#include "kernels/op_visit.h"

#include <initializer_list>

namespace quern::kernels {
namespace {

// Shows only what is present.
struct Present {
  IdVisitor& visitor;

  void reads(std::initializer_list<ValueId*> ids) const {
    for (ValueId* id : ids) {
      if (*id != kAbsent) visitor.read(*id);
    }
  }
  void writes(std::initializer_list<ValueId*> ids) const {
    for (ValueId* id : ids) {
      if (*id != kAbsent) visitor.write(*id);
    }
  }
  void weights(std::initializer_list<WeightId*> ids) const {
    for (WeightId* id : ids) {
      if (*id != kAbsent) visitor.weight(*id);
    }
  }
  void norm(Norm& norm) const { weights({&norm.weight, &norm.bias}); }
};

void visit(Embed& op, const Present& show) {
  show.weights({&op.table, &op.positions});
  show.writes({&op.out});
}

void visit(Projection& op, const Present& show) {
  show.reads({&op.in});
  show.norm(op.norm);
  for (Linear& linear : op.outputs) {
    show.reads({&linear.add, &linear.gate});
    show.weights({&linear.weight, &linear.bias});
  }
  for (Linear& linear : op.outputs) show.writes({&linear.out});
}

void visit(AddNormed& op, const Present& show) {
  show.reads({&op.in, &op.add});
  show.norm(op.norm);
  show.writes({&op.out});
}

void visit(SoftCap& op, const Present& show) { show.visitor.update(op.x); }

void visit(CacheAppend& op, const Present& show) {
  show.visitor.update(op.q);
  show.reads({&op.k, &op.v});
  show.norm(op.q_norm.norm);
  show.norm(op.k_norm.norm);
  if (op.rope != kAbsent) show.visitor.rope(op.rope);
  show.visitor.layer(op.layer);
}

void visit(Attention& op, const Present& show) {
  show.reads({&op.q});
  show.weights({&op.sinks});
  show.visitor.layer(op.layer);
  show.writes({&op.out});
}

void visit(Experts& op, const Present& show) {
  show.reads({&op.in, &op.add});
  show.norm(op.norm);
  show.weights({&op.router, &op.gate, &op.up, &op.down});
  show.norm(op.routing.norm);
  show.weights({&op.routing.bias, &op.routing.selection_bias, &op.routing.factors});
  show.weights({&op.gate_bias, &op.up_bias, &op.down_bias});
  show.writes({&op.out});
}

void visit(GatedNorm& op, const Present& show) {
  show.visitor.update(op.x);
  show.norm(op.norm.norm);
  show.reads({&op.gate});
}

void visit(Arrange& op, const Present& show) {
  for (Arrange::Piece& piece : op.pieces) show.reads({&piece.in});
  show.writes({&op.out});
}

void visit(HeadProduct& op, const Present& show) {
  show.reads({&op.in});
  show.weights({&op.weight});
  show.writes({&op.out});
}

void visit(CausalConv& op, const Present& show) {
  show.reads({&op.in, &op.before, &op.after});
  show.weights({&op.weight, &op.bias});
  show.visitor.state(op.state);
  show.writes({&op.out});
}

void visit(GatedDelta& op, const Present& show) {
  show.visitor.update(op.mixed);
  show.reads({&op.decay, &op.beta});
  show.weights({&op.a, &op.decay_bias});
  show.visitor.state(op.state);
  show.writes({&op.out});
}

void visit(SelectiveScan& op, const Present& show) {
  show.reads({&op.mixed, &op.step});
  show.weights({&op.a, &op.step_bias, &op.skip});
  show.visitor.state(op.state);
  show.writes({&op.out});
}

void visit(SelectLogitRows& op, const Present& show) {
  show.reads({&op.in});
  show.writes({&op.out});
}

}  // namespace

void visit_ids(Op& op, IdVisitor& visitor) {
  std::visit([&](auto& typed) { visit(typed, Present{visitor}); }, op);
}

}  // namespace quern::kernels

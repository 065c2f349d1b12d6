// Where every intermediate result of a program lies: computed from the program alone, so that the
// memory plan and the executable cannot disagree.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/backend.h"

namespace quern::kernels::cpu {

// Byte offsets into one buffer; every part starts at a multiple of 64.
struct Workspace {
  Workspace(const Program& program, const MaxBatch& max, size_t threads);

  std::vector<size_t> values;  // per ValueId: f32 [rows][width]
  std::vector<size_t> turns;   // per rope: f32 [rows][cos, sin][pairs]
  size_t normed;               // f32 [rows][width]: input of a projection after its norm
  size_t forms;                // the same, in the forms that its products read (InputForms)
  size_t experts;              // scratch of Experts (ExpertsWorkspace)
  size_t head_products;        // f32 [heads][rows][out] of HeadProduct
  size_t partials;             // f32 [split rows][query heads][granules][partial]: split attention
  size_t scratch;              // per thread, scratch_bytes each
  size_t scratch_bytes;
  std::vector<size_t> vectors;  // per WeightId: norms and biases as f32; kNotVector for matrices
  size_t bytes;                 // of everything

  static constexpr size_t kNotVector = SIZE_MAX;
};

// The parts of Workspace::experts for `rows` tokens: a slot is one expert of one token.
struct ExpertsWorkspace {
  ExpertsWorkspace(const Program& program, const Experts& op, size_t rows);

  size_t router_logits;  // f32 [rows][experts]
  size_t chosen;         // uint32 [rows][used]: expert of rank r
  size_t shares;         // f32 [rows][used]
  size_t slot_of;        // uint32 [rows][used]: slot, ordered by expert
  size_t slots;          // uint32 [rows * used]: row of a slot
  size_t inputs;         // f32 [slots][in]
  size_t input_forms;
  size_t hidden;  // f32 [slots][hidden]
  size_t hidden_forms;
  size_t outputs;  // f32 [slots][out]
  size_t bytes;
};

}  // namespace quern::kernels::cpu

// The angles of rotary embedding: cosines and sines in double precision, because an angle is a
// position times a frequency, and f32 would lose its fraction. xsimd has vector sines and cosines;
// compiled for the baseline instruction set, they give the same bits on every machine.
#include <algorithm>
#include <xsimd/xsimd.hpp>

#include "kernels/cpu/context.h"

namespace quern::kernels::cpu {
namespace {

using Doubles = xsimd::batch<double>;

// Turns of one row: cosines[pairs], then sines[pairs].
void turn(const Rope& rope, uint32_t position, float* turns) {
  const size_t pairs = rope.frequencies.size();
  for (size_t i = 0; i < pairs; i += Doubles::size) {
    const size_t count = std::min(Doubles::size, pairs - i);
    double angles[Doubles::size] = {}, cosines[Doubles::size], sines[Doubles::size];
    for (size_t j = 0; j < count; ++j) angles[j] = position * rope.frequencies[i + j];
    const auto [sine, cosine] = xsimd::sincos(Doubles::load_unaligned(angles));
    sine.store_unaligned(sines);
    cosine.store_unaligned(cosines);
    for (size_t j = 0; j < count; ++j) {
      turns[i + j] = static_cast<float>(cosines[j]) * rope.magnitude;
      turns[pairs + i + j] = static_cast<float>(sines[j]) * rope.magnitude;
    }
  }
}

}  // namespace

void compute_turns(Context& context) {
  const Batch& batch = *context.batch;
  for (size_t r = 0; r < context.program.ropes.size(); ++r) {
    const Rope& rope = context.program.ropes[r];
    float* turns = context.floats(context.workspace.turns[r]);
    context.pool.run(batch.tokens.size(), [&](size_t row, size_t) {
      turn(rope, batch.positions[row], turns + row * 2 * rope.frequencies.size());
    });
  }
}

}  // namespace quern::kernels::cpu

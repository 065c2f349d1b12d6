// The work of gather.format.comp for float tables whose width 8 does not divide, one value per
// invocation. Push constants and grid: shared.h, GatherPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"
#include "odd_rows.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { GatherPush push; };

void main() {
  const uint i = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
  if (i >= push.width) return;
  const BatchRow at = BatchRows(push.rows).at[row];
  const uint from = push.by_position != 0 ? at.position : at.token;
  float y = push.scale * odd_value(push.table, uint64_t(from) * push.width + i);
  const uint to = row * push.width + i;
  if (push.by_position != 0) y += Floats(push.out_rows).at[to];
  Floats(push.out_rows).at[to] = y;
}

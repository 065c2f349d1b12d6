// Rows of a table, decoded: out[row] = scale * table[token of row], or out[row] += scale *
// table[position of row]. One invocation decodes a unit of eight values. Push constants and grid: shared.h, GatherPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"
#include "format.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { GatherPush push; };

void main() {
  const uint unit = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
  if (unit >= push.width / 8) return;
  const BatchRow at = BatchRows(push.rows).at[row];
  const bool by_position = push.by_position != 0;
  vec4 first, second;
  decode_unit(row_address(push.table, by_position ? at.position : at.token, push.width),
              push.codebooks, unit, first, second);
  const uint i = unit_index(unit);
  const uint64_t out_row = push.out_rows + uint64_t(row) * push.width * 4;
  first *= push.scale;
  second *= push.scale;
  if (by_position) {
    first += Vec4s(out_row).at[i / 4];
    second += Vec4s(out_row).at[(i + SECOND) / 4];
  }
  Vec4s(out_row).at[i / 4] = first;
  Vec4s(out_row).at[(i + SECOND) / 4] = second;
}

// Tiles that make every head of every row a slot of its own, whose expert is the head. Push
// constants and grid: shared.h, HeadTilesPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { HeadTilesPush push; };

void main() {
  const uint slot = gl_GlobalInvocationID.x;
  if (slot < push.slots) ExpertTiles(push.tiles).at[slot] = ExpertTile(slot % push.heads, slot, 1);
}

// Tiles for experts that have two matrices each. Push constants and grid: shared.h, DoubleTilesPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { DoubleTilesPush push; };

void main() {
  const uint i = gl_GlobalInvocationID.x;
  if (i >= push.count) return;
  const ExpertTile tile = ExpertTiles(push.tiles).at[i];
  ExpertTiles(push.doubled).at[i] = ExpertTile(2 * tile.expert, tile.start, tile.count);
}

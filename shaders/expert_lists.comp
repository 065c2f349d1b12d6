// Sorts the slots of a step by expert, in one workgroup: counts, starts, then places. The order
// within an expert is open, and no result depends on it. Push constants: shared.h, ExpertListsPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { ExpertListsPush push; };

shared uint counts[kMaxExperts];
shared uint places[kMaxExperts];  // the next free index of each expert

uint tiles_of(uint expert) { return (counts[expert] + kMatmulTile - 1) / kMatmulTile; }

void count_slots() {
  for (uint e = gl_LocalInvocationID.x; e < push.experts; e += gl_WorkGroupSize.x) counts[e] = 0;
  barrier();
  for (uint slot = gl_LocalInvocationID.x; slot < push.slots; slot += gl_WorkGroupSize.x) {
    atomicAdd(counts[ExpertTiles(push.choices).at[slot].expert], 1);
  }
  barrier();
}

// Where the slots and the tiles of each expert begin.
void write_tiles() {
  for (uint e = gl_LocalInvocationID.x; e < push.experts; e += gl_WorkGroupSize.x) {
    uint start = 0, tile = 0;
    for (uint f = 0; f < e; ++f) {
      start += counts[f];
      tile += tiles_of(f);
    }
    places[e] = start;
    for (uint i = 0; i < tiles_of(e); ++i) {
      const uint done = i * kMatmulTile;
      ExpertTiles(push.tiles).at[tile + i] =
          ExpertTile(e, start + done, min(counts[e] - done, kMatmulTile));
    }
  }
}

void main() {
  count_slots();
  write_tiles();
  uint used = 0;
  for (uint e = 0; e < push.experts; ++e) used += tiles_of(e);
  for (uint i = used + gl_LocalInvocationID.x; i < push.tile_count; i += gl_WorkGroupSize.x) {
    ExpertTiles(push.tiles).at[i] = ExpertTile(0, 0, 0);
  }
  barrier();  // places are known
  for (uint slot = gl_LocalInvocationID.x; slot < push.slots; slot += gl_WorkGroupSize.x) {
    const uint expert = ExpertTiles(push.choices).at[slot].expert;
    Words(push.indices).at[atomicAdd(places[expert], 1)] = slot;
  }
}

// Per head: optional RMS norm, then rotary embedding (Su et al. 2021), of q in place and of k; then
// k and v join the cache. Push constants and grid: shared.h, CacheAppendPush.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"
#include "cache.glsl"
#include "workgroup_sum.glsl"

layout(local_size_x_id = 0) in;
layout(push_constant, scalar) uniform Push { CacheAppendPush push; };

shared float head_values[kMaxHeadWidth];
shared float turned[kMaxHeadWidth];
shared float scales[kMaxHeadWidth / 32];  // of the cache's codes

// The heads of q, or of k, and how they are normalized.
struct Heads {
  uint64_t values;  // f32 [heads][key_width] of this row
  uint64_t norm;
  uint over;    // kNorm…
  bool layer;   // layer norm
  float epsilon;
  uint count;
};

// Value x becomes (x - mean) * factor.
struct Scaling {
  float mean, factor;
};

// Of the norm of `count` values.
Scaling find_scaling(Heads heads, uint64_t values, uint count) {
  float mean = 0;
  if (heads.layer) {
    float sum = 0;
    for (uint i = gl_LocalInvocationID.x; i < count; i += gl_WorkGroupSize.x) {
      sum += Floats(values).at[i];
    }
    mean = workgroup_sum(sum) / float(count);
  }
  float squares = 0;
  for (uint i = gl_LocalInvocationID.x; i < count; i += gl_WorkGroupSize.x) {
    const float x = Floats(values).at[i] - mean;
    squares += x * x;
  }
  return Scaling(mean, inversesqrt(workgroup_sum(squares) / float(count) + heads.epsilon));
}

// Value i of the head in head_values, after rotation.
float rotated(uint row, uint i) {
  const float x = head_values[i];
  if (i >= 2 * push.pairs) return x;
  const uint pair = push.halves != 0 ? i % push.pairs : i / 2;
  const bool second = push.halves != 0 ? i >= push.pairs : i % 2 == 1;
  const uint distance = push.halves != 0 ? push.pairs : 1;
  const uint turn = 2 * (row * push.pairs + pair);
  const float cosine = Floats(push.turns).at[turn], sine = Floats(push.turns).at[turn + 1];
  return second ? head_values[i - distance] * sine + x * cosine
                : x * cosine - head_values[i + distance] * sine;
}

// head_values = norm(head).
void load_head(Heads heads, uint head, Scaling scaling) {
  const uint weight = heads.over == kNormEachHead ? 0 : head * push.key_width;
  barrier();  // the head before has been used
  for (uint i = gl_LocalInvocationID.x; i < push.key_width; i += gl_WorkGroupSize.x) {
    const float x = Floats(heads.values).at[head * push.key_width + i];
    head_values[i] = heads.norm == 0 ? x
                                     : (x - scaling.mean) * scaling.factor *
                                           Floats(heads.norm).at[weight + i];
  }
  barrier();
}

// head_values = rope(head_values) * factor.
void rotate(uint row, float factor) {
  for (uint i = gl_LocalInvocationID.x; i < push.key_width; i += gl_WorkGroupSize.x) {
    turned[i] = rotated(row, i) * factor;
  }
  barrier();
  for (uint i = gl_LocalInvocationID.x; i < push.key_width; i += gl_WorkGroupSize.x) {
    head_values[i] = turned[i];
  }
  barrier();
}

// Puts the `width` head_values into a tile as the key or value of `position`.
void store(uint64_t tile, uint width, uint position, bool key) {
  for (uint s = gl_LocalInvocationID.x; s < (width + 31) / 32; s += gl_WorkGroupSize.x) {
    float largest = 0;
    for (uint i = 32 * s; i < min(width, 32 * s + 32); ++i) {
      largest = max(largest, abs(head_values[i]));
    }
    scales[s] = largest / 127;
  }
  barrier();
  for (uint quad = gl_LocalInvocationID.x; quad < width / 4; quad += gl_WorkGroupSize.x) {
    const uint i = 4 * quad;
    const uint index = key ? key_index(quad, position) : value_index(width, quad, position);
    const uint scale = key ? key_scale(quad, position) : value_scale(width, quad, position);
    const vec4 x =
        vec4(head_values[i], head_values[i + 1], head_values[i + 2], head_values[i + 3]);
    store_quad(tile, width, index, scale, x, scales[quad / 8], quad % 8 == 0);
  }
}

// Heads first … last - 1 of q (is_key false) or k.
void turn_heads(Heads heads, uint first, uint last, uint row, BatchRow info, bool is_key) {
  Scaling scaling = Scaling(0, 1);
  float temperature = 1;
  if (heads.norm != 0 && heads.over == kNormAllHeads) {
    scaling = find_scaling(heads, heads.values, heads.count * push.key_width);
  }
  if (!is_key && push.slope != 0) {
    temperature += push.slope * log(1 + float(info.position / push.slope_length));
  }
  for (uint head = first; head < last; ++head) {
    const uint64_t values = heads.values + head * push.key_width * 4;
    if (heads.norm != 0 && heads.over != kNormAllHeads) {
      scaling = find_scaling(heads, values, push.key_width);
    }
    load_head(heads, head, scaling);
    rotate(row, temperature);
    if (!is_key) {
      for (uint i = gl_LocalInvocationID.x; i < push.key_width; i += gl_WorkGroupSize.x) {
        Floats(values).at[i] = head_values[i];
      }
    } else if (info.table != kPadding) {
      const uint block = Words(push.tables).at[info.table + info.position / kCacheBlock];
      store(tile_address(push.keys, block, head, push.key_heads, push.key_width), push.key_width,
            info.position % kCacheBlock, true);
    }
  }
}

void store_value(uint head, uint row, BatchRow info) {
  if (info.table == kPadding) return;
  const uint start = (row * push.key_heads + head) * push.value_width;
  for (uint i = gl_LocalInvocationID.x; i < push.value_width; i += gl_WorkGroupSize.x) {
    head_values[i] = Floats(push.v).at[start + i];
  }
  barrier();
  const uint block = Words(push.tables).at[info.table + info.position / kCacheBlock];
  store(tile_address(push.values, block, head, push.key_heads, push.value_width), push.value_width,
        info.position % kCacheBlock, false);
}

void main() {
  const uint row = gl_WorkGroupID.y;
  const BatchRow info = BatchRows(push.rows).at[row];
  const Heads q = Heads(push.q + uint64_t(row) * push.query_heads * push.key_width * 4, push.q_norm,
                        push.norm_over % 4, (push.norm_over & kNormLayer) != 0, push.epsilon,
                        push.query_heads);
  const Heads k = Heads(push.k + uint64_t(row) * push.key_heads * push.key_width * 4, push.k_norm,
                        push.norm_over / 16 % 4, (push.norm_over / 16 & kNormLayer) != 0,
                        push.k_epsilon, push.key_heads);
  const uint q_parts = q.over == kNormAllHeads ? 1 : q.count;
  const uint k_parts = k.over == kNormAllHeads ? min(k.count, 1) : k.count;
  const uint part = gl_WorkGroupID.x;
  if (part < q_parts) {
    turn_heads(q, q_parts == 1 ? 0 : part, q_parts == 1 ? q.count : part + 1, row, info, false);
  } else if (part < q_parts + k_parts) {
    const uint i = part - q_parts;
    turn_heads(k, k_parts == 1 ? 0 : i, k_parts == 1 ? k.count : i + 1, row, info, true);
  } else if (part < q_parts + k_parts + push.key_heads) {
    store_value(part - q_parts - k_parts, row, info);
  }
}

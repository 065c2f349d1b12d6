// The tiles of matmul.format.comp as runs of codes (runs.glsl). A step's 32 values of a row share
// one scale of activations, and lie in two classes of four runs whose weights share a scale
// (decode/common.glsl).
#include "runs.glsl"

const uint kRuns = 2 * kUnits;          // of a step
const uint kStride = kMatmulTile + 1;   // with padding

// [run][tile row], and the scales of both classes.
shared Run weight_tile[kRuns * kStride], x_tile[kRuns * kStride];
shared Run up_tile[kGated ? kRuns * kStride : 1];
shared vec2 weight_scales[kMatmulTile], up_scales[kGated ? kMatmulTile : 1];
#ifdef MINIMUMS
shared vec2 weight_minimums[kMatmulTile], up_minimums[kGated ? kMatmulTile : 1];
#endif
shared float x_scales[kMatmulTile];
shared float tops[kMatmulWidth];  // the largest magnitude of each unit of x

// The tile's row of an invocation's value i … 3: neighbours read neighbours.
uint tile_row(uint lane, uint i) { return lane + 16 * i; }
#include "matmul_lanes.glsl"

// Where the runs of unit u lie.
uint first_slot(uint u) { return SECOND >= 16 ? u : 2 * u; }
uint second_slot(uint u) { return SECOND >= 16 ? kUnits + u : 2 * u + 1; }

#define STORE_CODES(tile, scales, u, row, codes)                   \
  tile[first_slot(u) * kStride + row] = make_run(codes.first);     \
  tile[second_slot(u) * kStride + row] = make_run(codes.second);   \
  if (u == 0) scales[row].x = codes.scale.x;                       \
  if (u == (SECOND >= 16 ? 0 : 2)) scales[row].y = codes.scale.y;

#define STORE_MINIMUMS(minimums, u, row, codes)     \
  if (u == 0) minimums[row].x = codes.minimum.x;    \
  if (u == (SECOND >= 16 ? 0 : 2)) minimums[row].y = codes.minimum.y;

Codes codes_of(uint64_t matrix, uint r, uint unit, bool inside) {
  if (!inside) return scaled(ivec4(0), ivec4(0), 0);
  return unit_codes(row_address(matrix, r, push.in_width), push.codebooks, unit);
}

void load_weights(uint u, uint row, uint unit, uint r, bool inside) {
  const Codes codes = codes_of(push.weight, r, unit, inside);
  STORE_CODES(weight_tile, weight_scales, u, row, codes)
#ifdef MINIMUMS
  STORE_MINIMUMS(weight_minimums, u, row, codes)
#endif
  if (!kGated) return;
  const Codes up = codes_of(push.up, r, unit, inside);
  STORE_CODES(up_tile, up_scales, u, row, up)
#ifdef MINIMUMS
  STORE_MINIMUMS(up_minimums, u, row, up)
#endif
}

void announce_x(vec4 first, vec4 second) {
  tops[gl_LocalInvocationID.x] = largest(first, second);
}

void store_x(uint u, uint row, vec4 first, vec4 second) {
  float top = 0;
  for (uint i = 0; i < kUnits; ++i) top = max(top, tops[row * kUnits + i]);
  const float factor = quantize_factor(top);
  x_tile[first_slot(u) * kStride + row] = quantize(first, factor);
  x_tile[second_slot(u) * kStride + row] = quantize(second, factor);
  if (u == 0) x_scales[row] = top / kRunTop;
}

// Adds the products with class `k` of the runs.
#define ADD_PRODUCTS(totals, tile, scales)                                                  \
  for (uint i = 0; i < 4; ++i) {                                                            \
    const uint row = tile_row(lane_r(), i);                                                   \
    RunSum sums[4] = RunSum[4](RunSum(0), RunSum(0), RunSum(0), RunSum(0));                 \
    for (uint c = 0; c < kUnits; ++c) {                                                     \
      const Run w = tile[(k * kUnits + c) * kStride + row];                                 \
      for (uint j = 0; j < 4; ++j) sums[j] += dot_runs(w, x[c * 4 + j]);                    \
    }                                                                                       \
    totals[i] += scales[row][k] * x_scale * vec4(sums[0], sums[1], sums[2], sums[3]);       \
  }

void multiply_class(uint k, vec4 x_scale) {
  Run x[kUnits * 4];
  for (uint c = 0; c < kUnits; ++c) {
    for (uint j = 0; j < 4; ++j) {
      x[c * 4 + j] = x_tile[(k * kUnits + c) * kStride + tile_row(lane_t(), j)];
    }
  }
  ADD_PRODUCTS(products, weight_tile, weight_scales)
  if (kGated) {
    ADD_PRODUCTS(ups, up_tile, up_scales)
  }
#ifdef MINIMUMS
  vec4 x_sums = vec4(0);
  for (uint c = 0; c < kUnits; ++c) {
    for (uint j = 0; j < 4; ++j) x_sums[j] += float(sum_run(x[c * 4 + j]));
  }
  x_sums *= x_scale;
  for (uint i = 0; i < 4; ++i) products[i] -= weight_minimums[tile_row(lane_r(), i)][k] * x_sums;
  if (kGated) {
    for (uint i = 0; i < 4; ++i) ups[i] -= up_minimums[tile_row(lane_r(), i)][k] * x_sums;
  }
#endif
}

void multiply_step() {
  vec4 x_scale;
  for (uint j = 0; j < 4; ++j) x_scale[j] = x_scales[tile_row(lane_t(), j)];
  for (uint k = 0; k < 2; ++k) multiply_class(k, x_scale);
}

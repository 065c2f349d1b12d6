// Causal attention over the blocks of a layer's cache, for decoding and for prompts: softmax in one
// pass over the positions (Milakov and Gimelshein 2018), the positions in several splits where a
// step has few rows. Queries of a workgroup share a key/value head: kRows rows times kHeads heads.
// Push constants, specialization constants and grid: shared.h, AttentionPush.
//
// A step of the loop is one block of 64 positions:
//   scores   an invocation takes one position and some of the queries
//   weights  some neighbouring invocations take one query: maximum, exponentials, their sum
//   values   an invocation takes four values of the output and some of the queries
#version 460
#extension GL_GOOGLE_include_directive : require
#include "buffers.glsl"
#include "activation.glsl"
#include "cache.glsl"

layout(local_size_x_id = 0) in;  // kAttentionWidth
layout(constant_id = 3) const uint kRows = 1;
layout(constant_id = 4) const uint kHeads = 1;
layout(constant_id = 5) const uint kKeyWidth = 64;
layout(constant_id = 6) const uint kValueWidth = 64;
layout(constant_id = 7) const uint kShared = 0;
layout(push_constant, scalar) uniform Push { AttentionPush push; };

layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer Partials {
  float at[];
};
layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer Counters {
  uint at[];
};

const uint kQueries = kRows * kHeads;
const uint kKeyQuads = kKeyWidth / 4, kValueQuads = kValueWidth / 4;
const float kLowest = -1e30;  // below every score, and finite

// How each phase deals queries out: query i of a share s of n is s + i * n.
const uint kScoreShares = kAttentionWidth / kCacheBlock;
const uint kScoresEach = (kQueries + kScoreShares - 1) / kScoreShares;
const uint kLanes = kAttentionWidth / kQueries;  // invocations per query, for the weights
const uint kValueShares = kAttentionWidth / kValueQuads;
const uint kValuesEach = (kQueries + kValueShares - 1) / kValueShares;

shared vec4 queries[kQueries * kKeyQuads];        // scaled
shared float weights[kQueries * kCacheBlock];     // scores, then exp(score - maximum)
shared float lane_values[kAttentionWidth];        // maxima or sums, one per lane
shared float factors[kQueries];                   // of what was summed before
shared float sums[kQueries], maxima[kQueries];    // at the end
shared int positions[kQueries];                   // of the query's row; -1: not in this segment
shared bool is_last;

uint self;  // index in the workgroup
uint key_head, first_head, head_count, first_row, row_count;  // of this workgroup
vec4 outputs[kValuesEach];
float maximum = kLowest, sum = 0;  // of the lane's query; the sum is of this lane's weights

void find_work() {
  const uint group = push.query_heads / push.key_heads;
  const uint chunks = (group + kHeads - 1) / kHeads;
  key_head = gl_WorkGroupID.x / chunks;
  const uint start = gl_WorkGroupID.x % chunks * kHeads;
  first_head = key_head * group + start;
  head_count = min(kHeads, group - start);
  first_row = gl_WorkGroupID.z * kRows;
  row_count = min(kRows, push.row_count - first_row);
}

// Query i is head i % kHeads of row i / kHeads.
bool exists(uint query) { return query / kHeads < row_count && query % kHeads < head_count; }

// Index of a query's head among all rows and heads.
uint head_index(uint query) {
  return (first_row + query / kHeads) * push.query_heads + first_head + query % kHeads;
}

void load_queries() {
  for (uint i = self; i < kQueries * kKeyQuads; i += kAttentionWidth) {
    const uint query = i / kKeyQuads;
    queries[i] = vec4(0);
    if (exists(query)) {
      queries[i] = push.scale * Vec4s(push.q).at[head_index(query) * kKeyQuads + i % kKeyQuads];
    }
  }
}

// weights = scores of the 64 positions from `start`.
void compute_scores(uint64_t tile, uint start) {
  const uint position = self % kCacheBlock, share = self / kCacheBlock;
  float scores[kScoresEach];
  for (uint i = 0; i < kScoresEach; ++i) scores[i] = 0;
  for (uint quad = 0; quad < kKeyQuads; ++quad) {
    const vec4 key =
        load_quad(tile, kKeyWidth, key_index(quad, position), key_scale(quad, position));
    for (uint i = 0; i < kScoresEach; ++i) {
      const uint query = min(share + i * kScoreShares, kQueries - 1);
      scores[i] += dot(key, queries[query * kKeyQuads + quad]);
    }
  }
  const int j = int(start + position);
  for (uint i = 0; i < kScoresEach; ++i) {
    const uint query = share + i * kScoreShares;
    if (query >= kQueries) break;
    const int last = positions[query];
    float score = scores[i];
    if (push.softcap > 0) score = push.softcap * bounded_tanh(score / push.softcap);
    if (j > last || push.window > 0 && j <= last - int(push.window)) score = kLowest;
    weights[query * kCacheBlock + position] = score;
  }
}

// weights = exp(score - maximum); the maximum and the factors follow.
void compute_weights() {
  const uint query = self / kLanes, lane = self % kLanes;
  const bool used = query < kQueries;
  float largest = maximum;
  if (used) {
    for (uint p = lane; p < kCacheBlock; p += kLanes) {
      largest = max(largest, weights[query * kCacheBlock + p]);
    }
  }
  lane_values[self] = largest;
  barrier();
  if (used) {
    for (uint i = 0; i < kLanes; ++i) largest = max(largest, lane_values[query * kLanes + i]);
    const float factor = exp(maximum - largest);
    maximum = largest;
    sum *= factor;
    for (uint p = lane; p < kCacheBlock; p += kLanes) {
      const float score = weights[query * kCacheBlock + p];
      const float weight = score == kLowest ? 0 : exp(score - largest);
      weights[query * kCacheBlock + p] = weight;
      sum += weight;
    }
    if (lane == 0) factors[query] = factor;
  }
  barrier();
}

// Quad `quad` of a value: of a tile of values, or of keys whose last quads are the value.
vec4 load_value(uint64_t tile, uint quad, uint position) {
  if (kShared == 0) {
    return load_quad(tile, kValueWidth, value_index(kValueWidth, quad, position),
                     value_scale(kValueWidth, quad, position));
  }
  const uint key_quad = kKeyQuads - kValueQuads + quad;
  return load_quad(tile, kKeyWidth, key_index(key_quad, position), key_scale(key_quad, position));
}

// Adds the weighted values of the first `count` positions of a block.
void add_values(uint64_t tile, uint count) {
  const uint quad = self % kValueQuads, share = self / kValueQuads;
  if (share >= kValueShares) return;
  for (uint i = 0; i < kValuesEach; ++i) {
    outputs[i] *= factors[min(share + i * kValueShares, kQueries - 1)];
  }
  for (uint p = 0; p < count; ++p) {
    const vec4 value = load_value(tile, quad, p);
    for (uint i = 0; i < kValuesEach; ++i) {
      const uint query = min(share + i * kValueShares, kQueries - 1);
      outputs[i] += weights[query * kCacheBlock + p] * value;
    }
  }
}

// Attends to this split's share of the blocks that rows first … last - 1, which are of one
// sequence, see.
void attend_segment(uint first, uint last, uint table) {
  for (uint query = self; query < kQueries; query += kAttentionWidth) {
    const uint row = query / kHeads;
    const bool here = exists(query) && row >= first && row < last;
    positions[query] = here ? int(BatchRows(push.rows).at[first_row + row].position) : -1;
  }
  const uint lowest = BatchRows(push.rows).at[first_row + first].position;
  const uint highest = BatchRows(push.rows).at[first_row + last - 1].position;
  const uint skipped =
      push.window > 0 && lowest >= push.window ? (lowest - push.window + 1) / kCacheBlock : 0;
  const uint blocks = highest / kCacheBlock + 1 - skipped;
  const uint share = (blocks + gl_NumWorkGroups.y - 1) / gl_NumWorkGroups.y;
  const uint end = skipped + min(blocks, (gl_WorkGroupID.y + 1) * share);
  for (uint b = skipped + gl_WorkGroupID.y * share; b < end; ++b) {
    const uint block = Words(push.tables).at[table + b];
    barrier();  // positions are known, and the block before has been used
    const uint64_t keys = tile_address(push.keys, block, key_head, push.key_heads, kKeyWidth);
    compute_scores(keys, b * kCacheBlock);
    barrier();
    compute_weights();
    add_values(kShared != 0 ? keys : tile_address(push.values, block, key_head, push.key_heads,
                                                  kValueWidth),
               min(kCacheBlock, highest + 1 - b * kCacheBlock));
  }
  barrier();
}

// sums and maxima of every query, from those of its lanes.
void fold_sums() {
  const uint query = self / kLanes;
  lane_values[self] = sum;
  barrier();
  if (query < kQueries && self % kLanes == 0) {
    float total = 0;
    for (uint i = 0; i < kLanes; ++i) total += lane_values[self + i];
    sums[query] = total;
    maxima[query] = maximum;
  }
  barrier();
}

// Stores a query's values, given sums relative to a maximum. A sink is one more score.
void store_output(uint query, uint quad, vec4 total, float weight_sum, float largest) {
  if (!exists(query)) return;
  float factor = 1, divisor = weight_sum;
  if (push.sinks != 0) {
    const float sink = Floats(push.sinks).at[first_head + query % kHeads];
    const float top = max(largest, sink);
    factor = exp(largest - top);
    divisor = divisor * factor + exp(sink - top);
  }
  Vec4s(push.out_rows).at[head_index(query) * kValueQuads + quad] =
      divisor > 0 ? total * (factor / divisor) : vec4(0);  // 0: a row of padding
}

// Where the partial result of a query in a split starts.
uint partial_start(uint split, uint query) {
  const uint workgroup = gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  return ((workgroup * gl_NumWorkGroups.y + split) * kQueries + query) * (2 + kValueWidth);
}

void store_partial(uint query, uint quad, vec4 total) {
  const uint start = partial_start(gl_WorkGroupID.y, query);
  Partials partial = Partials(push.partials);
  if (quad == 0) {
    partial.at[start] = maxima[query];
    partial.at[start + 1] = sums[query];
  }
  for (uint i = 0; i < 4; ++i) partial.at[start + 2 + 4 * quad + i] = total[i];
}

// Whether all other splits have stored their partial results; then they can be read.
bool all_stored() {
  memoryBarrierBuffer();
  barrier();
  if (self == 0) {
    const uint workgroup = gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    Counters counters = Counters(push.counters);
    is_last = atomicAdd(counters.at[workgroup], 1) == gl_NumWorkGroups.y - 1;
    if (is_last) counters.at[workgroup] = 0;
  }
  barrier();
  memoryBarrierBuffer();
  return is_last;
}

void merge_partials(uint query, uint quad) {
  Partials partial = Partials(push.partials);
  float largest = kLowest;
  for (uint split = 0; split < gl_NumWorkGroups.y; ++split) {
    largest = max(largest, partial.at[partial_start(split, query)]);
  }
  vec4 total = vec4(0);
  float weight_sum = 0;
  for (uint split = 0; split < gl_NumWorkGroups.y; ++split) {
    const uint start = partial_start(split, query), at = start + 2 + 4 * quad;
    const float factor = exp(partial.at[start] - largest);
    weight_sum += factor * partial.at[start + 1];
    total += factor * vec4(partial.at[at], partial.at[at + 1], partial.at[at + 2],
                           partial.at[at + 3]);
  }
  store_output(query, quad, total, weight_sum, largest);
}

void main() {
  self = gl_LocalInvocationID.x;
  find_work();
  load_queries();
  for (uint i = 0; i < kValuesEach; ++i) outputs[i] = vec4(0);
  for (uint row = 0, next; row < row_count; row = next) {
    const uint table = BatchRows(push.rows).at[first_row + row].table;
    next = row + 1;
    while (next < row_count && BatchRows(push.rows).at[first_row + next].table == table) ++next;
    if (table != kPadding) attend_segment(row, next, table);
  }
  fold_sums();
  const uint quad = self % kValueQuads, share = self / kValueQuads;
  const bool split = gl_NumWorkGroups.y > 1;
  for (uint query = share, i = 0; share < kValueShares && query < kQueries;
       query += kValueShares, ++i) {
    if (split) {
      store_partial(query, quad, outputs[i]);
    } else {
      store_output(query, quad, outputs[i], sums[query], maxima[query]);
    }
  }
  if (!split || !all_stored()) return;
  for (uint query = share; share < kValueShares && query < kQueries; query += kValueShares) {
    merge_partials(query, quad);
  }
}

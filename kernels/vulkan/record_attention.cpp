// The cache and attention over it as dispatches.
#include <algorithm>

#include "kernels/vulkan/attention.h"
#include "kernels/vulkan/op_recorder.h"
#include "shaders/shared.h"

namespace quern::kernels::vulkan {
namespace {

constexpr uint32_t kAppendWidth = 64;  // invocations per workgroup

uint32_t cache_code(CacheType type) {
  switch (type) {
    case CacheType::kF32:
      return shaders::kCacheF32;
    case CacheType::kF16:
      return shaders::kCacheF16;
    case CacheType::kQ8_0:
      return shaders::kCacheQ8_0;
  }
  return shaders::kCacheF32;
}

// Shaders take four values at a time, and one invocation has four values of the output.
bool fits_shaders(const Heads& heads) {
  return heads.key_width % 4 == 0 && heads.value_width % 4 == 0 &&
         heads.key_width <= shaders::kMaxHeadWidth &&
         heads.value_width <= 4 * shaders::kAttentionWidth;
}

uint32_t norm_code(const HeadNorm& norm) {
  const uint32_t layer = norm.norm.kind == Norm::Kind::kLayer ? shaders::kNormLayer : 0;
  switch (norm.over) {
    case HeadNorm::Over::kEachHead:
      return layer + shaders::kNormEachHead;
    case HeadNorm::Over::kOwnHead:
      return layer + shaders::kNormOwnHead;
    case HeadNorm::Over::kAllHeads:
      return layer + shaders::kNormAllHeads;
  }
  return shaders::kNormEachHead;
}

// Workgroups of a row for the heads of q, or of k.
uint32_t parts_of(const HeadNorm& norm, uint32_t heads) {
  return norm.over == HeadNorm::Over::kAllHeads ? std::min(heads, 1u) : heads;
}

}  // namespace

// Normalizes the heads whose norm has a bias, for which the next kernel has no room.
Status OpRecorder::normalize_biased(const CacheAppend& op, const Heads& heads, uint32_t keys) {
  const auto normalized = [&](const HeadNorm& norm, ValueId id, uint32_t count) -> Status {
    if (norm.norm.bias == kAbsent || count == 0) return {};
    const Range x = rows(id, shape_.rows, uint64_t{count} * heads.key_width);
    return normalize_heads(norm, count, heads.key_width, shape_.rows, x, 1);
  };
  QUERN_CHECK(normalized(op.q_norm, op.q, heads.queries));
  return normalized(op.k_norm, op.k, keys);
}

Status OpRecorder::operate(const CacheAppend& op) {
  const Heads& heads = b_.program.layers[op.layer];
  if (!fits_shaders(heads)) return unsupported("heads of this width");
  const uint32_t keys_own = op.k == kAbsent ? 0 : heads.keys;  // of this layer
  QUERN_CHECK(normalize_biased(op, heads, keys_own));
  const bool q_done = op.q_norm.norm.bias != kAbsent, k_done = op.k_norm.norm.bias != kAbsent;
  const Rope* rope = op.rope == kAbsent ? nullptr : &b_.program.ropes[op.rope];
  const uint32_t constants[] = {kAppendWidth, b_.device.caps().subgroup_size,
                                cache_code(b_.cache.type())};
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("cache_append", constants));
  const Range q = rows(op.q, shape_.rows, uint64_t{heads.queries} * heads.key_width);
  const auto own_rows = [&](ValueId id, uint64_t width) {
    return id == kAbsent ? Range{} : rows(id, shape_.rows, keys_own * width);
  };
  const Range k = own_rows(op.k, heads.key_width), v = own_rows(op.v, heads.value_width);
  const Range keys = b_.cache.keys(op.layer).range, values = b_.cache.values(op.layer).range;
  const shaders::CacheAppendPush push = {
      .q = q.address,
      .k = k.address,
      .v = v.address,
      .q_norm = q_done ? 0 : b_.weights.address_or_null(op.q_norm.norm.weight),
      .k_norm = k_done ? 0 : b_.weights.address_or_null(op.k_norm.norm.weight),
      .turns = rope ? b_.rows.turns(op.rope) : 0,
      .rows = b_.rows.rows(),
      .tables = b_.rows.tables(heads.group),
      .keys = keys.address,
      .values = values.address,
      .query_heads = heads.queries,
      .key_heads = keys_own,
      .key_width = heads.key_width,
      .value_width = heads.value_width,
      .pairs = rope ? static_cast<uint32_t>(rope->frequencies.size()) : 0,
      .halves = rope && rope->pairs == Rope::Pairs::kHalves,
      .norm_over = norm_code(op.q_norm) + 16 * norm_code(op.k_norm),
      .epsilon = op.q_norm.norm.epsilon,
      .k_epsilon = op.k_norm.norm.epsilon,
      .slope = op.temperature.slope,
      .slope_length = op.temperature.length};
  const uint32_t q_parts = parts_of(op.q_norm, heads.queries);
  const uint32_t v_parts = heads.shared ? 0 : keys_own;
  const Groups groups = {q_parts + parts_of(op.k_norm, keys_own) + v_parts, shape_.rows};
  Access access = {{q}, {q}};
  if (keys_own > 0) access = {{q, k, v}, {q, keys, values}};
  recorder_.dispatch(*kernel, push, groups, std::move(access));
  return {};
}

Status OpRecorder::operate(const Attention& op) {
  const Heads& heads = b_.program.layers[op.layer];
  if (!fits_shaders(heads)) return unsupported("heads of this width");
  const AttentionTiling tiling = tile_attention(heads, shape_.rows, shape_.positions);
  const uint32_t constants[] = {shaders::kAttentionWidth,
                                b_.device.caps().subgroup_size,
                                cache_code(b_.cache.type()),
                                tiling.rows,
                                tiling.heads,
                                heads.key_width,
                                heads.value_width,
                                heads.shared};
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("attention", constants));
  const Range q = rows(op.q, shape_.rows, uint64_t{heads.queries} * heads.key_width);
  const Range out = rows(op.out, shape_.rows, uint64_t{heads.queries} * heads.value_width);
  const Range keys = b_.cache.keys(op.layer).range, values = b_.cache.values(op.layer).range;
  const Range partials = {b_.workspace.partials().address, tiling.partial_bytes};
  const Range counters = {b_.workspace.counters().address, tiling.counter_bytes};
  const shaders::AttentionPush push = {.q = q.address,
                                       .out_rows = out.address,
                                       .keys = keys.address,
                                       .values = values.address,
                                       .rows = b_.rows.rows(),
                                       .tables = b_.rows.tables(heads.group),
                                       .sinks = b_.weights.address_or_null(op.sinks),
                                       .partials = partials.address,
                                       .counters = counters.address,
                                       .query_heads = heads.queries,
                                       .key_heads = heads.keys,
                                       .row_count = shape_.rows,
                                       .window = op.window,
                                       .scale = op.scale,
                                       .softcap = op.softcap};
  recorder_.dispatch(*kernel, push, tiling.groups,
                     {{q, keys, values, partials, counters}, {out, partials, counters}});
  return {};
}

}  // namespace quern::kernels::vulkan

// The cache and attention over it as dispatches.
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

}  // namespace

Status OpRecorder::operate(const CacheAppend& op) {
  const Heads& heads = b_.program.layers[op.layer];
  const Rope& rope = b_.program.ropes[op.rope];
  if (!fits_shaders(heads)) return unsupported("heads of this width");
  const uint32_t constants[] = {kAppendWidth, b_.device.caps().subgroup_size,
                                cache_code(b_.cache.type())};
  QUERN_TRY(const Kernel* kernel, b_.device.kernel("cache_append", constants));
  const Range q = rows(op.q, shape_.rows, uint64_t{heads.queries} * heads.key_width);
  const Range k = rows(op.k, shape_.rows, uint64_t{heads.keys} * heads.key_width);
  const Range v = rows(op.v, shape_.rows, uint64_t{heads.keys} * heads.value_width);
  const Range keys = b_.cache.keys(op.layer).range, values = b_.cache.values(op.layer).range;
  const shaders::CacheAppendPush push = {.q = q.address,
                                         .k = k.address,
                                         .v = v.address,
                                         .q_norm = b_.weights.address_or_null(op.q_norm.weight),
                                         .k_norm = b_.weights.address_or_null(op.k_norm.weight),
                                         .turns = b_.rows.turns(op.rope),
                                         .rows = b_.rows.rows(),
                                         .tables = b_.rows.tables(),
                                         .keys = keys.address,
                                         .values = values.address,
                                         .query_heads = heads.queries,
                                         .key_heads = heads.keys,
                                         .key_width = heads.key_width,
                                         .value_width = heads.value_width,
                                         .pairs = static_cast<uint32_t>(rope.frequencies.size()),
                                         .halves = rope.pairs == Rope::Pairs::kHalves,
                                         .epsilon = op.q_norm.epsilon};
  const Groups groups = {heads.queries + 2 * heads.keys, shape_.rows};
  recorder_.dispatch(*kernel, push, groups, {{q, k, v}, {q, keys, values}});
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
                                heads.value_width};
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
                                       .tables = b_.rows.tables(),
                                       .partials = partials.address,
                                       .counters = counters.address,
                                       .query_heads = heads.queries,
                                       .key_heads = heads.keys,
                                       .row_count = shape_.rows,
                                       .scale = op.scale};
  recorder_.dispatch(*kernel, push, tiling.groups,
                     {{q, keys, values, partials, counters}, {out, partials, counters}});
  return {};
}

}  // namespace quern::kernels::vulkan

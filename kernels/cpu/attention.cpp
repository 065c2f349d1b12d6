// Rope, cache append and attention.
//
// Attention is exact for any split of the work: each granule of 512 positions (aligned to 0) has
// its own softmax, and granules are merged in ascending order, whether one thread walks over all
// granules of a head or many threads take one each.
#include "kernels/cpu/attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "kernels/cpu/attention_kernels.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/normalize.h"
#include "kernels/cpu/vector_math.h"

namespace quern::kernels::cpu {
namespace {

// Tiles between the one that is read and the one that is fetched meanwhile.
constexpr uint32_t kAhead = 1;

// Of [first, first + count), what lies in `span`, counted from `first`.
Span part_of(Span span, uint32_t first, uint32_t count) {
  const auto from = [&](uint32_t p) { return p <= first ? 0 : std::min(p - first, count); };
  return {from(span.begin), from(span.end)};
}

// Queries that share a key/value head and a sequence, by ascending position.
struct Queries {
  size_t count = 0;
  const float* q[kMaxQueries];   // [key_width]
  Span sees[kMaxQueries];        // the positions that a query sees
  Partial partial[kMaxQueries];  // where a granule's result goes
};

struct Granule {
  const CpuCache& cache;
  std::span<const uint32_t> block_table;
  uint32_t head;
  uint32_t first;  // position
  const Attention& op;

  const std::byte* keys(uint32_t tile) const { return cache.keys(op.layer, block(tile), head); }
  const std::byte* values(uint32_t tile) const { return cache.values(op.layer, block(tile), head); }
  uint32_t block(uint32_t tile) const { return block_table[first / kTilePositions + tile]; }
  // Which of this granule's positions a query sees.
  Span visible(Span sees) const { return part_of(sees, first, kGranulePositions); }
};

// Scores of the positions that a query sees to weights.
void weigh(const Attention& op, Span seen, float* scores, const Partial& out) {
  if (op.softcap == 0) return softmax(scores, seen, op.scale, out);
  soft_cap(scores + seen.begin, seen.end - seen.begin, op.scale, op.softcap);
  softmax(scores, seen, 1, out);
}

// What tile_values does for one tile, of all `tiles` of a granule where values are shared with
// keys.
void add_shared_values(const TileLayout& layout, Span tiles, const std::byte* const* keys,
                       const Span* seen, const Queries& queries, const float* weights,
                       float* const* sums) {
  const uint32_t first = tiles.begin * kTilePositions;
  Span in_tiles[kMaxQueries];
  for (size_t i = 0; i < queries.count; ++i) {
    in_tiles[i] = part_of(seen[i], first, (tiles.end - tiles.begin) * kTilePositions);
  }
  shared_values(layout, keys, weights + first, kGranulePositions, in_tiles, queries.count, sums);
}

// The softmax of one granule for every query; some see some of it, and those that see nothing of it
// get a partial without positions. weights: [kMaxQueries][kGranulePositions]. `next` is the granule
// that this thread reads next: its first keys are fetched meanwhile.
void attend(const Granule& granule, const Queries& queries, float* weights, const Granule& next) {
  const TileLayout& layout = granule.cache.layout(granule.op.layer);
  Span seen[kMaxQueries], all{kGranulePositions, 0};
  float* sums[kMaxQueries];
  for (size_t i = 0; i < queries.count; ++i) {
    seen[i] = granule.visible(queries.sees[i]);
    sums[i] = queries.partial[i].values();
    if (seen[i].begin >= seen[i].end) continue;
    all = {std::min(all.begin, seen[i].begin), std::max(all.end, seen[i].end)};
  }
  // What is read, in order: the tiles' keys, their values, the next keys.
  const uint32_t first = all.begin / kTilePositions;
  const uint32_t tiles = (all.end + kTilePositions - 1) / kTilePositions - first;
  const std::byte* stages[2 * kGranulePositions / kTilePositions + kAhead];
  for (uint32_t t = 0; t < tiles; ++t) {
    stages[t] = granule.keys(first + t);
    stages[tiles + t] = granule.values(first + t);
  }
  const auto last = layout.shared ? stages + tiles : stages + 2 * tiles;
  std::fill(last, std::end(stages), next.keys(0));

  for (uint32_t t = 0; t < tiles; ++t) {
    tile_scores(layout, stages[t], queries.q, queries.count, weights + (first + t) * kTilePositions,
                kGranulePositions, stages[t + kAhead]);
  }
  for (size_t i = 0; i < queries.count; ++i) {
    weigh(granule.op, seen[i], weights + i * kGranulePositions, queries.partial[i]);
    std::fill_n(sums[i], layout.value_stride, 0.0f);
  }
  if (layout.shared)
    return add_shared_values(layout, {first, first + tiles}, stages, seen, queries, weights, sums);
  for (uint32_t t = 0; t < tiles; ++t) {
    const uint32_t position = (first + t) * kTilePositions;
    Span in_tile[kMaxQueries];
    for (size_t i = 0; i < queries.count; ++i) {
      in_tile[i] = part_of(seen[i], position, kTilePositions);
    }
    tile_values(layout, stages[tiles + t], weights + position, kGranulePositions, in_tile,
                queries.count, sums, stages[tiles + t + kAhead]);
  }
}

size_t granules(uint32_t positions) {
  return positions / kGranulePositions + (positions % kGranulePositions > 0);
}

// Attention of one layer for the rows of a batch.
class Layer {
 public:
  Layer(const Attention& op, Context& context)
      : op_(op),
        context_(context),
        batch_(*context.batch),
        heads_(context.program.layers[op.layer]),
        layout_(context.cache.layout(op.layer)),
        group_(heads_.queries / heads_.keys),
        floats_(Partial::floats(layout_)),
        sinks_(context.vector(op.sinks)) {}

  // Few rows: one item per row, head and granule. Whoever finishes the last granule of a row and
  // head merges them.
  void run_split() {
    const uint32_t longest = *std::ranges::max_element(batch_.positions) + 1;
    const size_t parts = granules(longest), rows = batch_.tokens.size();
    auto* done = reinterpret_cast<uint32_t*>(context_.memory + context_.workspace.partials);
    std::fill_n(done, rows * heads_.keys, 0);
    float* partials = reinterpret_cast<float*>(done + rows * heads_.keys);
    const auto partial = [&](size_t row, size_t query, size_t part) {
      return Partial{partials + ((row * heads_.queries + query) * parts + part) * floats_};
    };
    context_.pool.run(rows * heads_.keys * parts, [&](size_t item, size_t worker) {
      const auto [row, head, part] = split(item, parts);
      const auto [begin, end] = granules_of(sees(row));
      if (part < begin || part >= end) return;
      const Granule current = granule(row, head, part);
      const Granule next = likely_next(item + context_.pool.threads(), parts, current);
      for (size_t first = 0; first < group_; first += kMaxQueries) {
        Queries queries = take(row, head, first, group_);
        for (size_t i = 0; i < queries.count; ++i) {
          queries.partial[i] = partial(row, head * group_ + first + i, part);
        }
        attend(current, queries, scratch(worker), next);
      }
      const std::atomic_ref<uint32_t> count(done[row * heads_.keys + head]);
      if (count.fetch_add(1, std::memory_order_acq_rel) + 1 < end - begin) return;
      for (size_t query = head * group_; query < (head + 1) * group_; ++query) {
        const Partial total = partial(row, query, begin);
        for (size_t p = begin + 1; p < end; ++p) merge(total, partial(row, query, p), layout_);
        finish(total, sink(query), heads_.value_width, out(row, query));
      }
    });
  }

  // Many rows: one item per head and run of neighbouring rows, which walks over the granules. The
  // runs of a head follow one another, so that they find its keys and values in a shared cache.
  void run_rows() {
    const std::vector<std::pair<size_t, size_t>> runs = row_runs();
    context_.pool.run(runs.size() * heads_.keys, [&](size_t item, size_t worker) {
      const auto [row, rows] = runs[item % runs.size()];
      attend_run(row, rows, item / runs.size(), scratch(worker));
    });
  }

 private:
  struct Part {
    size_t row, head, part;
  };

  Part split(size_t item, size_t parts) const {
    return {item / parts / heads_.keys, item / parts % heads_.keys, item % parts};
  }

  // The granule of an item that the thread may take after the one with `current`.
  Granule likely_next(size_t item, size_t parts, const Granule& current) const {
    const auto [row, head, part] = split(item, parts);
    if (row >= batch_.tokens.size()) return current;
    const auto [begin, end] = granules_of(sees(row));
    return part >= begin && part < end ? granule(row, head, part) : current;
  }

  // Rows that one item takes: neighbours of one sequence, as many as fill kItemQueries.
  std::vector<std::pair<size_t, size_t>> row_runs() const {
    const size_t most = std::max<size_t>(1, kItemQueries / group_);
    std::vector<std::pair<size_t, size_t>> runs;
    for (size_t row = 0; row < batch_.tokens.size(); ++row) {
      if (!runs.empty() && runs.back().second < most &&
          batch_.sequences[runs.back().first] == batch_.sequences[row]) {
        ++runs.back().second;
      } else {
        runs.emplace_back(row, 1);
      }
    }
    return runs;
  }

  void attend_run(size_t row, size_t rows, size_t head, float* weights) {
    float* totals = weights + kMaxQueries * kGranulePositions;
    const size_t total = rows * group_;
    float* next = totals + total * floats_;
    const uint32_t begin = granules_of(sees(row)).begin;
    const uint32_t end = granules_of(sees(row + rows - 1)).end;
    for (uint32_t part = begin; part < end; ++part) {
      for (size_t first = 0; first < total; first += kMaxQueries) {
        Queries queries = take(row, head, first, total);
        Span own[kMaxQueries];  // granules of each query; they ascend with its position
        for (size_t i = 0; i < queries.count; ++i) {
          own[i] = granules_of(queries.sees[i]);
          queries.partial[i] = {part == own[i].begin ? totals + (first + i) * floats_
                                                     : next + i * floats_};
        }
        if (part < own[0].begin || part >= own[queries.count - 1].end) continue;
        const bool last = first + kMaxQueries >= total && part + 1 < end;
        attend(granule(row, head, part), queries, weights, granule(row, head, part + last));
        for (size_t i = 0; i < queries.count; ++i) {
          if (part <= own[i].begin || part >= own[i].end) continue;
          merge({totals + (first + i) * floats_}, queries.partial[i], layout_);
        }
      }
    }
    for (size_t i = 0; i < total; ++i) {
      const size_t query = head * group_ + i % group_;
      finish({totals + i * floats_}, sink(query), heads_.value_width, out(row + i / group_, query));
    }
  }

  // Of the `total` queries of key head `head` in the rows from `row` on, those from `first` on, at
  // most kMaxQueries.
  Queries take(size_t row, size_t head, size_t first, size_t total) const {
    Queries queries;
    queries.count = std::min(kMaxQueries, total - first);
    for (size_t i = 0; i < queries.count; ++i) {
      const size_t query_row = row + (first + i) / group_;
      const size_t query = head * group_ + (first + i) % group_;
      queries.q[i] =
          context_.value(op_.q) + (query_row * heads_.queries + query) * heads_.key_width;
      queries.sees[i] = sees(query_row);
    }
    return queries;
  }

  // The positions that a row sees.
  Span sees(size_t row) const {
    const uint32_t end = batch_.positions[row] + 1;
    return {op_.window == 0 || end <= op_.window ? 0 : end - op_.window, end};
  }
  static Span granules_of(Span positions) {
    return {positions.begin / kGranulePositions, static_cast<uint32_t>(granules(positions.end))};
  }
  const float* sink(size_t query) const { return sinks_ ? sinks_ + query : nullptr; }

  Granule granule(size_t row, size_t head, size_t part) const {
    return {context_.cache, batch_.blocks(context_.program, op_.layer, row),
            static_cast<uint32_t>(head), static_cast<uint32_t>(part * kGranulePositions), op_};
  }
  float* scratch(size_t worker) const { return reinterpret_cast<float*>(context_.scratch(worker)); }
  float* out(size_t row, size_t query) const {
    return context_.value(op_.out) + (row * heads_.queries + query) * heads_.value_width;
  }

  const Attention& op_;
  Context& context_;
  const Batch& batch_;
  const Heads& heads_;
  const TileLayout& layout_;
  const size_t group_;
  const size_t floats_;
  const float* const sinks_;  // [query heads] or null
};

}  // namespace

size_t attention_scratch_bytes(const Heads& heads, const TileLayout& layout) {
  const size_t queries = std::max<size_t>(kItemQueries, heads.queries / heads.keys);
  return (kMaxQueries * kGranulePositions + (queries + kMaxQueries) * Partial::floats(layout)) *
         sizeof(float);
}

size_t attention_partial_bytes(const Heads& heads, const TileLayout& layout, const MaxBatch& max) {
  const size_t rows = std::min(kSplitRows, max.rows);
  const size_t partials = heads.queries * granules(max.positions) * Partial::floats(layout);
  return rows * (heads.keys * sizeof(uint32_t) + partials * sizeof(float));
}

namespace {

// Norm and rope of the heads of q or k of one row.
class HeadTurner {
 public:
  HeadTurner(const CacheAppend& op, const HeadNorm& norm, uint32_t heads, const Context& context)
      : width_(context.program.layers[op.layer].key_width),
        heads_(heads),
        norm_(norm),
        weights_(context.norm(norm.norm)),
        rope_(op.rope == kAbsent ? nullptr : &context.program.ropes[op.rope]),
        turns_(rope_ ? context.floats(context.workspace.turns[op.rope]) : nullptr) {}

  void operator()(size_t row, float* x) const {
    if (weights_.weight) normalize_heads(x);
    if (!rope_) return;
    const size_t pairs = rope_->frequencies.size();
    const float* cosines = turns_ + row * 2 * pairs;
    for (size_t h = 0; h < heads_; ++h) {
      rotate_pairs(x + h * width_, cosines, cosines + pairs, pairs,
                   rope_->pairs == Rope::Pairs::kInterleaved);
    }
  }

 private:
  void normalize_heads(float* x) const {
    if (norm_.over == HeadNorm::Over::kAllHeads) {
      return normalize(norm_.norm, weights_, x, size_t{width_} * heads_, x);
    }
    const size_t step = norm_.over == HeadNorm::Over::kOwnHead ? width_ : 0;
    for (size_t h = 0; h < heads_; ++h, x += width_) {
      normalize(norm_.norm, weights_.part(h * step), x, width_, x);
    }
  }

  const uint32_t width_, heads_;
  const HeadNorm& norm_;
  const NormWeights weights_;
  const Rope* rope_;
  const float* turns_;
};

void warm(const QueryTemperature& temperature, uint32_t position, float* q, size_t count) {
  if (temperature.slope == 0) return;
  const uint32_t steps = position / temperature.length;
  const auto factor =
      static_cast<float>(1 + temperature.slope * std::log1p(static_cast<double>(steps)));
  for (size_t i = 0; i < count; ++i) q[i] *= factor;
}

}  // namespace

void run(const CacheAppend& op, Context& context) {
  const Batch& batch = *context.batch;
  const Heads& heads = context.program.layers[op.layer];
  const TileLayout& layout = context.cache.layout(op.layer);
  const HeadTurner turn_q(op, op.q_norm, heads.queries, context);
  const HeadTurner turn_k(op, op.k_norm, heads.keys, context);
  const size_t q_width = size_t{heads.queries} * heads.key_width;
  context.pool.run(batch.tokens.size(), [&](size_t row, size_t) {
    const uint32_t position = batch.positions[row];
    const uint32_t block = batch.blocks(context.program, op.layer, row)[position / kBlockPositions];
    float* q = context.value(op.q) + row * q_width;
    turn_q(row, q);
    warm(op.temperature, position, q, q_width);
    if (op.k == kAbsent) return;
    float* k = context.value(op.k) + row * heads.keys * heads.key_width;
    turn_k(row, k);
    for (uint32_t h = 0; h < heads.keys; ++h, k += heads.key_width) {
      store_key(layout, context.cache.keys(op.layer, block, h), position % kTilePositions, k);
    }
    if (heads.shared) return;
    const float* v = context.value(op.v) + row * heads.keys * heads.value_width;
    for (uint32_t h = 0; h < heads.keys; ++h, v += heads.value_width) {
      store_value(layout, context.cache.values(op.layer, block, h), position % kTilePositions, v);
    }
  });
}

void run(const Attention& op, Context& context) {
  Layer layer(op, context);
  if (context.batch->tokens.size() <= kSplitRows) {
    layer.run_split();
  } else {
    layer.run_rows();
  }
}

}  // namespace quern::kernels::cpu

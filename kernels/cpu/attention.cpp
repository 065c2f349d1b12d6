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
#include "kernels/cpu/vector_math.h"

namespace quern::kernels::cpu {
namespace {

// Tiles between the one that is read and the one that is fetched meanwhile.
constexpr uint32_t kAhead = 1;

// Queries that share a key/value head and a sequence, by ascending position.
struct Queries {
  size_t count = 0;
  const float* q[kMaxQueries];   // [key_width]
  uint32_t limit[kMaxQueries];   // positions that the query sees: [0, limit)
  Partial partial[kMaxQueries];  // where a granule's result goes
};

struct Granule {
  const CpuCache& cache;
  std::span<const uint32_t> block_table;
  uint32_t layer, head;
  uint32_t first;  // position
  float scale;

  const std::byte* keys(uint32_t tile) const { return cache.keys(layer, block(tile), head); }
  const std::byte* values(uint32_t tile) const { return cache.values(layer, block(tile), head); }
  uint32_t block(uint32_t tile) const { return block_table[first / kTilePositions + tile]; }
  // How many of this granule's positions a query with this limit sees.
  uint32_t visible(uint32_t limit) const {
    return limit <= first ? 0 : std::min(limit - first, kGranulePositions);
  }
};

// The softmax of one granule for every query; the last one sees some of it, and those that see
// nothing of it get a partial without positions. weights: [kMaxQueries][kGranulePositions].
// `next` is the granule that this thread reads next: its first keys are fetched meanwhile.
void attend(const Granule& granule, const Queries& queries, float* weights, const Granule& next) {
  const TileLayout& layout = granule.cache.layout(granule.layer);
  uint32_t seen[kMaxQueries];
  float* sums[kMaxQueries];
  for (size_t i = 0; i < queries.count; ++i) {
    seen[i] = granule.visible(queries.limit[i]);
    sums[i] = queries.partial[i].values();
  }
  // What is read, in order: the tiles' keys, their values, the next keys.
  const uint32_t tiles = (seen[queries.count - 1] + kTilePositions - 1) / kTilePositions;
  const std::byte* stages[2 * kGranulePositions / kTilePositions + kAhead];
  for (uint32_t t = 0; t < tiles; ++t) {
    stages[t] = granule.keys(t);
    stages[tiles + t] = granule.values(t);
  }
  std::fill_n(stages + 2 * tiles, kAhead, next.keys(0));

  for (uint32_t t = 0; t < tiles; ++t) {
    tile_scores(layout, stages[t], queries.q, queries.count, weights + t * kTilePositions,
                kGranulePositions, stages[t + kAhead]);
  }
  for (size_t i = 0; i < queries.count; ++i) {
    softmax(weights + i * kGranulePositions, seen[i], granule.scale, queries.partial[i]);
    std::fill_n(sums[i], layout.value_stride, 0.0f);
  }
  for (uint32_t t = 0; t < tiles; ++t) {
    uint32_t in_tile[kMaxQueries];
    for (size_t i = 0; i < queries.count; ++i) {
      const uint32_t first = t * kTilePositions;
      in_tile[i] = seen[i] <= first ? 0 : std::min(seen[i] - first, kTilePositions);
    }
    tile_values(layout, stages[tiles + t], weights + t * kTilePositions, kGranulePositions, in_tile,
                queries.count, sums, stages[tiles + t + kAhead]);
  }
}

void finish(const Partial& partial, uint32_t width, float* out) {
  float* sums = partial.sums();
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  for (uint32_t d = 0; d < width; ++d) out[d] = partial.values()[d] / sums[0];
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
        floats_(Partial::floats(layout_)) {}

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
      const size_t used = granules(batch_.positions[row] + 1);
      if (part >= used) return;
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
      if (count.fetch_add(1, std::memory_order_acq_rel) + 1 < used) return;
      for (size_t query = head * group_; query < (head + 1) * group_; ++query) {
        const Partial total = partial(row, query, 0);
        for (size_t p = 1; p < used; ++p) merge(total, partial(row, query, p), layout_);
        finish(total, heads_.value_width, out(row, query));
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
    const bool exists = row < batch_.tokens.size() && part < granules(batch_.positions[row] + 1);
    return exists ? granule(row, head, part) : current;
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
    const size_t parts = granules(batch_.positions[row + rows - 1] + 1);
    for (size_t part = 0; part < parts; ++part) {
      for (size_t first = 0; first < total; first += kMaxQueries) {
        Queries queries = take(row, head, first, total);
        if (part * kGranulePositions >= queries.limit[queries.count - 1]) continue;
        for (size_t i = 0; i < queries.count; ++i) {
          queries.partial[i] = {part == 0 ? totals + (first + i) * floats_ : next + i * floats_};
        }
        const bool last = first + kMaxQueries >= total && part + 1 < parts;
        attend(granule(row, head, part), queries, weights, granule(row, head, part + last));
        for (size_t i = 0; part > 0 && i < queries.count; ++i) {
          if (part * kGranulePositions >= queries.limit[i]) continue;
          merge({totals + (first + i) * floats_}, queries.partial[i], layout_);
        }
      }
    }
    for (size_t i = 0; i < total; ++i) {
      finish({totals + i * floats_}, heads_.value_width,
             out(row + i / group_, head * group_ + i % group_));
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
      queries.limit[i] = batch_.positions[query_row] + 1;
    }
    return queries;
  }

  Granule granule(size_t row, size_t head, size_t part) const {
    return {context_.cache,
            batch_.block_tables[batch_.sequences[row]],
            op_.layer,
            static_cast<uint32_t>(head),
            static_cast<uint32_t>(part * kGranulePositions),
            op_.scale};
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

void run(const CacheAppend& op, Context& context) {
  const Batch& batch = *context.batch;
  const Heads& heads = context.program.layers[op.layer];
  const Rope& rope = context.program.ropes[op.rope];
  const size_t pairs = rope.frequencies.size();
  const float* turns = context.floats(context.workspace.turns[op.rope]);
  const TileLayout& layout = context.cache.layout(op.layer);
  const float* q_norm = context.vector(op.q_norm.weight);
  const float* k_norm = context.vector(op.k_norm.weight);
  context.pool.run(batch.tokens.size(), [&](size_t row, size_t) {
    const float* cosines = turns + row * 2 * pairs;
    const auto turn = [&](float* head, const float* norm, float epsilon) {
      if (norm) rms_norm(head, norm, epsilon, heads.key_width, head);
      rotate_pairs(head, cosines, cosines + pairs, pairs, rope.pairs == Rope::Pairs::kInterleaved);
    };
    const uint32_t position = batch.positions[row];
    const uint32_t block = batch.block_tables[batch.sequences[row]][position / kBlockPositions];
    float* q = context.value(op.q) + row * heads.queries * heads.key_width;
    float* k = context.value(op.k) + row * heads.keys * heads.key_width;
    const float* v = context.value(op.v) + row * heads.keys * heads.value_width;
    for (uint32_t h = 0; h < heads.queries; ++h, q += heads.key_width) {
      turn(q, q_norm, op.q_norm.epsilon);
    }
    for (uint32_t h = 0; h < heads.keys; ++h, k += heads.key_width, v += heads.value_width) {
      turn(k, k_norm, op.k_norm.epsilon);
      store_key(layout, context.cache.keys(op.layer, block, h), position % kTilePositions, k);
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

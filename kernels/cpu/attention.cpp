// Rope, cache append and attention.
//
// Attention is exact for any split of the work: each granule of 512 positions (aligned to 0) has
// its own softmax, and granules are merged in ascending order, whether one thread walks over all
// granules of a head or many threads take one each.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_kernels.h"
#include "kernels/cpu/context.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/vector_math.h"

namespace quern::kernels::cpu {
namespace {

// Rotates one head in place. turns: [pairs][cos, sin], magnitude included.
void rotate(float* head, const Rope& rope, const float* turns) {
  const size_t pairs = rope.frequencies.size();
  const bool interleaved = rope.pairs == Rope::Pairs::kInterleaved;
  for (size_t i = 0; i < pairs; ++i) {
    float& a = head[interleaved ? 2 * i : i];
    float& b = head[interleaved ? 2 * i + 1 : i + pairs];
    const float cosine = turns[2 * i], sine = turns[2 * i + 1];
    const float rotated = a * cosine - b * sine;
    b = a * sine + b * cosine;
    a = rotated;
  }
}

// One softmax over at most 512 positions of one query: f32, in this order.
struct Partial {
  float* data;

  float& maximum() const { return data[0]; }   // largest score
  float* sums() const { return data + 16; }    // Σ exp by position mod 16
  float* values() const { return data + 32; }  // Σ exp * v, [value_stride]
  static size_t floats(const TileLayout& layout) { return 32 + layout.value_stride; }
};

// Queries that share a key/value head and a sequence.
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

  const std::byte* tile(uint32_t position) const {
    return cache.tile(layer, block_table[position / kBlockPositions], head, position);
  }
  // How many of this granule's positions a query with this limit sees.
  uint32_t visible(uint32_t limit) const {
    return limit <= first ? 0 : std::min(limit - first, kGranulePositions);
  }
};

// The softmax of one granule for every query that sees some of it; the others get no positions.
// weights: [kMaxQueries][kGranulePositions].
void attend(const Granule& granule, const Queries& queries, float* weights) {
  const TileLayout& layout = granule.cache.layout(granule.layer);
  uint32_t seen[kMaxQueries], longest = 0;
  for (size_t i = 0; i < queries.count; ++i) {
    seen[i] = granule.visible(queries.limit[i]);
    longest = std::max(longest, seen[i]);
  }
  for (uint32_t j = 0; j < longest; j += kTilePositions) {
    tile_scores(layout, granule.tile(granule.first + j), queries.q, queries.count, weights + j,
                kGranulePositions);
  }
  for (size_t i = 0; i < queries.count; ++i) {
    float* w = weights + i * kGranulePositions;
    const Partial& partial = queries.partial[i];
    float maximum = -INFINITY;
    for (uint32_t j = 0; j < seen[i]; ++j) {
      w[j] *= granule.scale;
      maximum = w[j] > maximum ? w[j] : maximum;
    }
    exp_shifted(w, seen[i], maximum);
    std::fill_n(partial.data, Partial::floats(layout), 0.0f);
    partial.maximum() = maximum;
    for (uint32_t j = 0; j < seen[i]; ++j) partial.sums()[j % 16] += w[j];
  }
  float* values[kMaxQueries];
  for (size_t i = 0; i < queries.count; ++i) values[i] = queries.partial[i].values();
  for (uint32_t j = 0; j < longest; j += kTilePositions) {
    uint32_t in_tile[kMaxQueries];
    for (size_t i = 0; i < queries.count; ++i) {
      in_tile[i] = seen[i] <= j ? 0 : std::min(seen[i] - j, kTilePositions);
    }
    tile_values(layout, granule.tile(granule.first + j), weights + j, kGranulePositions, in_tile,
                queries.count, values);
  }
}

// into = into and next, two softmaxes over different positions (Milakov and Gimelshein 2018).
void merge(const Partial& into, const Partial& next, const TileLayout& layout) {
  const float maximum = std::max(into.maximum(), next.maximum());
  float factors[2] = {into.maximum(), next.maximum()};
  exp_shifted(factors, 2, maximum);
  into.maximum() = maximum;
  for (size_t i = 16; i < Partial::floats(layout); ++i) {
    into.data[i] = into.data[i] * factors[0] + next.data[i] * factors[1];
  }
}

void finish(const Partial& partial, uint32_t width, float* out) {
  float* sums = partial.sums();
  for (size_t half = 8; half > 0; half /= 2) {
    for (size_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  for (uint32_t d = 0; d < width; ++d) out[d] = partial.values()[d] / sums[0];
}

uint32_t granules(uint32_t positions) {
  return positions / kGranulePositions + (positions % kGranulePositions > 0);
}

// Attention of one layer for the rows of a batch.
class Layer {
 public:
  Layer(const Attention& op, Context& context)
      : op_(op),
        context_(context),
        heads_(context.program.layers[op.layer]),
        layout_(context.cache.layout(op.layer)),
        group_(heads_.queries / heads_.keys),
        floats_(Partial::floats(layout_)) {}

  // Few rows: one item per row, head and granule; then one per row and query head to merge.
  void run_split() {
    const Batch& batch = *context_.batch;
    const uint32_t longest = *std::ranges::max_element(batch.positions) + 1;
    const size_t parts = granules(longest);
    const size_t rows = batch.tokens.size();
    float* partials = context_.floats(context_.workspace.partials);
    const auto partial = [&](size_t row, size_t query, size_t part) {
      return Partial{partials + ((row * heads_.queries + query) * parts + part) * floats_};
    };
    context_.pool.run(rows * heads_.keys * parts, [&](size_t item, size_t worker) {
      const size_t part = item % parts, head = item / parts % heads_.keys;
      const size_t row = item / parts / heads_.keys;
      if (part * kGranulePositions > batch.positions[row]) return;
      for_groups(row, 1, head, [&](Queries& queries, auto&& query_of) {
        for (size_t i = 0; i < queries.count; ++i) {
          queries.partial[i] = partial(row, query_of(i).second, part);
        }
        attend(granule(row, head, part), queries, weights(worker));
      });
    });
    context_.pool.run(rows * heads_.queries, [&](size_t item, size_t) {
      const size_t row = item / heads_.queries, query = item % heads_.queries;
      const size_t used = granules(batch.positions[row] + 1);
      for (size_t part = 1; part < used; ++part) {
        merge(partial(row, query, 0), partial(row, query, part), layout_);
      }
      finish(partial(row, query, 0), heads_.value_width, out(row, query));
    });
  }

  // Many rows: one item per head and run of neighbouring rows, granule after granule.
  void run_rows() {
    const Batch& batch = *context_.batch;
    const std::vector<std::pair<size_t, size_t>> runs = row_runs();
    context_.pool.run(runs.size() * heads_.keys, [&](size_t item, size_t worker) {
      const auto [row, count] = runs[item / heads_.keys];
      const size_t head = item % heads_.keys;
      const uint32_t longest = batch.positions[row + count - 1] + 1;
      float* total = weights(worker) + kMaxQueries * kGranulePositions;
      float* next = total + kMaxQueries * floats_;
      for_groups(row, count, head, [&](Queries& queries, auto&& query_of) {
        for (size_t part = 0; part < granules(longest); ++part) {
          for (size_t i = 0; i < queries.count; ++i) {
            queries.partial[i] = {(part == 0 ? total : next) + i * floats_};
          }
          attend(granule(row, head, part), queries, weights(worker));
          for (size_t i = 0; part > 0 && i < queries.count; ++i) {
            if (part * kGranulePositions >= queries.limit[i]) continue;
            merge({total + i * floats_}, queries.partial[i], layout_);
          }
        }
        for (size_t i = 0; i < queries.count; ++i) {
          const auto [query_row, query] = query_of(i);
          finish({total + i * floats_}, heads_.value_width, out(query_row, query));
        }
      });
    });
  }

 private:
  // Rows that one item takes: neighbours of one sequence, as many as fill kMaxQueries.
  std::vector<std::pair<size_t, size_t>> row_runs() const {
    const Batch& batch = *context_.batch;
    const size_t most = std::max<size_t>(1, kMaxQueries / group_);
    std::vector<std::pair<size_t, size_t>> runs;
    for (size_t row = 0; row < batch.tokens.size(); ++row) {
      if (!runs.empty() && runs.back().second < most &&
          batch.sequences[runs.back().first] == batch.sequences[row]) {
        ++runs.back().second;
      } else {
        runs.emplace_back(row, 1);
      }
    }
    return runs;
  }

  // Calls use(queries, query_of) for the queries of `rows` rows that read key head `head`, at most
  // kMaxQueries at a time; query_of(i) is the row and query head of the i-th.
  template <class Use>
  void for_groups(size_t row, size_t rows, size_t head, Use use) {
    const size_t total = rows * group_;
    for (size_t first = 0; first < total; first += kMaxQueries) {
      const auto query_of = [&](size_t i) {
        return std::pair(row + (first + i) / group_, head * group_ + (first + i) % group_);
      };
      Queries queries;
      queries.count = std::min(kMaxQueries, total - first);
      for (size_t i = 0; i < queries.count; ++i) {
        const auto [query_row, query] = query_of(i);
        queries.q[i] =
            context_.value(op_.q) + (query_row * heads_.queries + query) * heads_.key_width;
        queries.limit[i] = context_.batch->positions[query_row] + 1;
      }
      use(queries, query_of);
    }
  }

  Granule granule(size_t row, size_t head, size_t part) const {
    const Batch& batch = *context_.batch;
    return {context_.cache,
            batch.block_tables[batch.sequences[row]],
            op_.layer,
            static_cast<uint32_t>(head),
            static_cast<uint32_t>(part * kGranulePositions),
            op_.scale};
  }
  float* weights(size_t worker) const { return reinterpret_cast<float*>(context_.scratch(worker)); }
  float* out(size_t row, size_t query) const {
    return context_.value(op_.out) + (row * heads_.queries + query) * heads_.value_width;
  }

  const Attention& op_;
  Context& context_;
  const Heads& heads_;
  const TileLayout& layout_;
  const size_t group_;
  const size_t floats_;
};

}  // namespace

size_t attention_scratch_bytes(const TileLayout& layout) {
  return kMaxQueries * (kGranulePositions + 2 * Partial::floats(layout)) * sizeof(float);
}

size_t attention_partial_bytes(const Heads& heads, const TileLayout& layout, const MaxBatch& max) {
  const size_t rows = std::min(kSplitRows, max.rows);
  return rows * heads.queries * granules(max.positions) * Partial::floats(layout) * sizeof(float);
}

void compute_turns(Context& context) {
  const Batch& batch = *context.batch;
  for (size_t r = 0; r < context.program.ropes.size(); ++r) {
    const Rope& rope = context.program.ropes[r];
    const size_t pairs = rope.frequencies.size();
    float* turns = context.floats(context.workspace.turns[r]);
    context.pool.run(batch.tokens.size(), [&](size_t row, size_t) {
      for (size_t i = 0; i < pairs; ++i) {
        const double angle = batch.positions[row] * rope.frequencies[i];
        turns[(row * pairs + i) * 2] = static_cast<float>(std::cos(angle)) * rope.magnitude;
        turns[(row * pairs + i) * 2 + 1] = static_cast<float>(std::sin(angle)) * rope.magnitude;
      }
    });
  }
}

void run(const CacheAppend& op, Context& context) {
  const Batch& batch = *context.batch;
  const Heads& heads = context.program.layers[op.layer];
  const Rope& rope = context.program.ropes[op.rope];
  const float* turns = context.floats(context.workspace.turns[op.rope]);
  const TileLayout& layout = context.cache.layout(op.layer);
  const float* q_norm = context.vector(op.q_norm.weight);
  const float* k_norm = context.vector(op.k_norm.weight);
  context.pool.run(batch.tokens.size(), [&](size_t row, size_t) {
    const float* turn = turns + row * rope.frequencies.size() * 2;
    const uint32_t position = batch.positions[row];
    const uint32_t block = batch.block_tables[batch.sequences[row]][position / kBlockPositions];
    float* q = context.value(op.q) + row * heads.queries * heads.key_width;
    float* k = context.value(op.k) + row * heads.keys * heads.key_width;
    const float* v = context.value(op.v) + row * heads.keys * heads.value_width;
    for (uint32_t h = 0; h < heads.queries; ++h, q += heads.key_width) {
      if (q_norm) rms_norm(q, q_norm, op.q_norm.epsilon, heads.key_width, q);
      rotate(q, rope, turn);
    }
    for (uint32_t h = 0; h < heads.keys; ++h, k += heads.key_width, v += heads.value_width) {
      if (k_norm) rms_norm(k, k_norm, op.k_norm.epsilon, heads.key_width, k);
      rotate(k, rope, turn);
      std::byte* tile = context.cache.tile(op.layer, block, h, position);
      store_key(layout, tile, position % kTilePositions, k);
      store_value(layout, tile, position % kTilePositions, v);
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

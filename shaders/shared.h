// What C++ and the shaders agree on: push constants and sizes. The same header compiles as both;
// structures hold only 4- and 8-byte scalars in an order without gaps, so that their layout is the
// same (GLSL: scalar block layout; a test compares the offsets with the compiled modules).
//
// Conventions of all shaders:
// - A buffer is a device address (uint64_t), cast to one of the buffer references of buffers.glsl.
// - Specialization constant 0 is the workgroup's width (local_size_x), 1 the subgroup size.
// - NAME.comp becomes the kernel NAME; NAME.format.comp includes "format.glsl", which the build
//   writes for each format, and becomes the kernels NAME_q4_k and so on.
// - The rows of a step come in arrays: tokens int32 [rows], positions uint32 [rows], sequences
//   uint32 [rows], and the cache blocks of each sequence, tables uint32 [sequences][table_stride].
//   A step may have fewer rows than a grid: the last one is repeated, so no shader need know.
// - A layer's cache is one range for keys and one for values, in blocks of 64 positions; block b
//   starts at the range's address + b * the bytes of a block.
#ifndef QUERN_SHADERS_SHARED_H
#define QUERN_SHADERS_SHARED_H
#ifdef __cplusplus
#include <cstdint>
namespace quern::shaders {
using uint = uint32_t;
#define QUERN_CONSTANT inline constexpr uint
#define QUERN_PUSH(type, bytes) static_assert(sizeof(type) == (bytes) && (bytes) <= kMaxPushBytes)
#define QUERN_DEFAULT(value) = value  // of a member that C++ may leave out
#else
#define QUERN_DEFAULT(value)
#define QUERN_CONSTANT const uint
#define QUERN_PUSH(type, bytes)
#endif

QUERN_CONSTANT kMaxPushBytes = 128;  // the least that every device has

// select_rows: out[i] = in[rows[i]], f32 [count][width].
// Grid: x covers the values of a row, y is i.
struct SelectRowsPush {
  uint64_t in_rows;  // f32 [rows of the batch][width]
  uint64_t indices;  // uint32 [count]
  uint64_t out_rows;
  uint width;
  uint pad;
};
QUERN_PUSH(SelectRowsPush, 32);

// Where the tables of codebooks.h lie in the codebooks' buffer (kernels/vulkan/codebooks.h), in
// bytes. An entry is its run's signed bytes.
QUERN_CONSTANT kCodebookIq2Xxs = 0;
QUERN_CONSTANT kCodebookIq2Xs = 2048;
QUERN_CONSTANT kCodebookIq2S = 6144;
QUERN_CONSTANT kCodebookIq3Xxs = 14336;
QUERN_CONSTANT kCodebookIq3S = 15360;
QUERN_CONSTANT kCodebookIq1 = 17408;
QUERN_CONSTANT kCodebookNl4 = 33792;
QUERN_CONSTANT kCodebookBytes = 33808;

// One row of the batch, as the host writes it.
struct BatchRow {
  uint token;
  uint position;
  uint table;  // index of the first entry of its sequence's block table; kPadding: no row
};
QUERN_CONSTANT kPadding = 0xFFFFFFFFu;

// Rows of activations are f32, packed, and start at addresses that 16 divides; matrices of weights
// lie in the file's layout from such an address. Widths that a weight multiplies or gather reads
// are multiples of the format's block, and of 8: where they are not, which happens to float formats
// alone, odd_product and odd_gather do the same, slowly.
QUERN_CONSTANT kOddF32 = 0;  // formats of odd_rows.glsl, specialization constant 2
QUERN_CONSTANT kOddF16 = 1;
QUERN_CONSTANT kOddBf16 = 2;

// gather_FORMAT: out[row] = scale * table[token of row].
// Grid: x covers width / 8 units (odd_gather: values), y is the row. A padding row has token 0.
struct GatherPush {
  uint64_t table;     // [vocabulary][width]
  uint64_t rows;      // BatchRow [rows]
  uint64_t out_rows;  // f32 [rows][width]
  uint64_t codebooks;
  uint width;
  float scale QUERN_DEFAULT(1);
  // Not 0: rows of positions instead of tokens, added to what `out_rows` holds.
  uint by_position QUERN_DEFAULT(0);
  uint pad QUERN_DEFAULT(0);
};
QUERN_PUSH(GatherPush, 48);

// What becomes of the product y of a weight's row and an activation row (epilogue.glsl), in this
// order: y * 1/rms (norm), + bias, activation, * up, * scale * row_scale, + add.
QUERN_CONSTANT kActivationNone = 0;
QUERN_CONSTANT kActivationSilu = 1;
QUERN_CONSTANT kActivationGelu = 2;
QUERN_CONSTANT kActivationReluSquared = 3;
QUERN_CONSTANT kActivationSigmoid = 4;
QUERN_CONSTANT kActivationClampedSwiglu = 5;

// matvec_FORMAT: out[t][r] = epilogue(weight[r] · norm(x[t])), for few rows t.
// matmul_FORMAT: the same for any number of rows, in tiles. Addresses marked optional may be 0.
// With `up`, two matrices of one format multiply x: out = activation(weight · x) * (up · x).
// With `gate`, what `weight` gives is the up part: out = activation(gate[t][r]) * (weight · x); so
// are units computed whose matrices have different formats.
// Specialization constants of matvec: 2 rows t of a workgroup, 1 … kMatvecRows, 3 whether there is
// `up`; of matmul: 2 whether there is `up`.
// Grid of matvec: x * y workgroups, each for kMatvecOutputs values r: the workgroup (x, y) takes
// number y * (workgroups in x) + x; z covers the rows.
// Grid of matmul: x covers out_width in tiles of kMatmulTile, y the rows in tiles of kMatmulTile;
// workgroups of kMatmulWidth invocations.
// Grid of odd_product: x * y workgroups as of matvec, each for as many values r as it has
// invocations; z covers the rows in tiles of kMatmulTile.
//
// Experts: weights are [experts][out_width][in_width], biases [experts][out_width], and with
// `tiles` the grid's rows (z of matvec, with 1 row; y of matmul) are numbers of tiles. The output's
// rows are slots: slot s is rank s % used of the batch's row s / used.
QUERN_CONSTANT kMatvecRows = 8;
QUERN_CONSTANT kMatvecOutputs = 8;
QUERN_CONSTANT kMatmulTile = 64;
QUERN_CONSTANT kMatmulWidth = 256;
QUERN_CONSTANT kSlotsPerRow = 256;  // see MatmulPush::activation
struct MatmulPush {
  uint64_t weight QUERN_DEFAULT(0);    // [out_width][in_width]
  uint64_t up QUERN_DEFAULT(0);        // optional: [out_width][in_width]
  uint64_t x QUERN_DEFAULT(0);         // f32 [rows][in_width]
  uint64_t indices QUERN_DEFAULT(0);   // optional: uint32 [rows], the row of x that row t reads;
                                       // with tiles: the slots of their rows
  uint64_t norm QUERN_DEFAULT(0);      // optional: f32 [in_width], the weight of an RMS norm of x
  uint64_t bias QUERN_DEFAULT(0);      // optional: f32 [out_width], of `weight`
  uint64_t gate QUERN_DEFAULT(0);      // optional: f32 [rows][out_width]
  uint64_t add QUERN_DEFAULT(0);       // optional: f32 [rows][out_width]; may be out_rows
  uint64_t out_rows QUERN_DEFAULT(0);  // f32 [rows][out_width]
  uint64_t codebooks QUERN_DEFAULT(0);
  uint in_width QUERN_DEFAULT(0);
  uint out_width QUERN_DEFAULT(0);
  uint rows QUERN_DEFAULT(0);
  uint activation QUERN_DEFAULT(0);  // kActivation…; with tiles, + kSlotsPerRow * the slots that
                                     // share a row of x: `used`, or 1 where x has a row per slot
  float epsilon QUERN_DEFAULT(0);    // of the norm
  float scale QUERN_DEFAULT(1);
  uint64_t row_scale QUERN_DEFAULT(0);  // optional: f32 [rows]
  uint64_t up_bias QUERN_DEFAULT(0);    // optional: f32 [out_width], of `up`
  uint64_t tiles QUERN_DEFAULT(0);      // optional: ExpertTile, for experts
};
QUERN_PUSH(MatmulPush, 128);

// Rows that one expert multiplies: `count` slots from number `start`, or those that
// indices[start …] name.
struct ExpertTile {
  uint expert;
  uint start;
  uint count;  // 0: there is nothing to do
};

// The cache of a layer, one range of keys and one of values. A block is, per key/value head,
//   keys    [key_width / 4][64 positions][4]      so that neighbouring invocations take positions
//   scales  [key_width / 32][64 positions]        q8_0 only: one f16 per position and 32 values
// and in the range of values
//   values  [64 positions][value_width]
//   scales  [64 positions][value_width / 32]      q8_0 only
// Where values are shared with keys (kernels/op.h, Heads) there are only keys. All
// with widths that 4 divides; the number of scales is rounded up. Types: f32, f16, int8.
QUERN_CONSTANT kCacheF32 = 0;
QUERN_CONSTANT kCacheF16 = 1;
QUERN_CONSTANT kCacheQ8_0 = 2;
QUERN_CONSTANT kCacheBlock = 64;  // positions

// norm: out = scale * norm(in) (+ add), one workgroup per row: an RMS norm, or with `layer` a layer
// norm, (x - mean) / sqrt(variance + epsilon) * weight (+ bias). Grid: x * y workgroups, the
// row is number y * (workgroups in x) + x.
struct NormPush {
  uint64_t in_rows;                // f32 [rows][width]
  uint64_t weight;                 // f32 [heads][width], of row i number i % heads; 0: none
  uint64_t bias QUERN_DEFAULT(0);  // optional: f32 [heads][width]
  uint64_t add QUERN_DEFAULT(0);   // optional: f32 [rows][width]; may be out_rows
  uint64_t out_rows;               // f32 [rows][width]; may be in_rows
  uint width;
  uint layer QUERN_DEFAULT(0);  // 1: layer norm
  float epsilon;
  float scale QUERN_DEFAULT(1);
  uint heads QUERN_DEFAULT(1);
  uint normalized QUERN_DEFAULT(1);  // 0: the row is only scaled
};
QUERN_PUSH(NormPush, 64);

// soft_cap: x = cap * tanh(x / cap). Grid: x covers `count` values.
struct SoftCapPush {
  uint64_t x;
  uint count;
  float cap;
};
QUERN_PUSH(SoftCapPush, 16);

// cache_append: optional RMS or layer norm, then rope, of q (in place) and k; then k and v join the
// cache. A rope's pair i turns by (cosine, sine) = turns[row][i]; values beyond the pairs stay.
// Specialization constant 2: the cache's type. Rows whose table is kPadding are not stored.
// Heads of at most kMaxHeadWidth values.
// key_heads may be 0: the layer appends nothing, only q is turned.
// Grid: x is the part of a row, y the row. Parts are the q heads, the k heads, the v heads; with a
// norm over all heads (kNormAllHeads) all heads of q, or k, are one part.
QUERN_CONSTANT kMaxHeadWidth = 1024;
QUERN_CONSTANT kNormEachHead = 0;  // weight [key_width] for every head
QUERN_CONSTANT kNormOwnHead = 1;   // weight [heads * key_width], a part for each head
QUERN_CONSTANT kNormAllHeads = 2;  // weight [heads * key_width], all heads are one vector
QUERN_CONSTANT kNormLayer = 4;     // added to one of these
struct CacheAppendPush {
  uint64_t q;                        // f32 [rows][query_heads * key_width]
  uint64_t k;                        // f32 [rows][key_heads * key_width]
  uint64_t v;                        // f32 [rows][key_heads * value_width]
  uint64_t q_norm QUERN_DEFAULT(0);  // optional: f32
  uint64_t k_norm QUERN_DEFAULT(0);  // optional: f32
  uint64_t turns;                    // f32 [rows][pairs][cosine, sine]
  uint64_t rows;                     // BatchRow [rows]
  uint64_t tables;                   // uint32
  uint64_t keys;                     // the layer's cache
  uint64_t values;
  uint query_heads;
  uint key_heads;
  uint key_width;
  uint value_width;
  uint pairs;                       // 0: no rotation
  uint halves;                      // pairs are 0: (2i, 2i + 1), 1: (i, i + pairs)
  uint norm_over QUERN_DEFAULT(0);  // kNorm… of q + 16 * kNorm… of k; with kNormLayer: layer norms
  float epsilon QUERN_DEFAULT(0);  // of q's norm
  float k_epsilon QUERN_DEFAULT(0);
  float slope QUERN_DEFAULT(0);  // q *= 1 + slope * ln(1 + floor(position / slope_length))
  uint slope_length QUERN_DEFAULT(1);
  uint pad QUERN_DEFAULT(0);
};
QUERN_PUSH(CacheAppendPush, 128);

// attention: causal attention of all rows over the cache of a layer, for decoding and for prompts.
// A workgroup of kAttentionWidth invocations takes `kRows` consecutive rows times `kHeads` query
// heads of one key/value head, and one of `splits` parts of the positions. With several splits each
// writes a partial result, and the one that ends last merges them: no barrier is needed.
// Specialization constants: 2 cache type, 3 kRows, 4 kHeads, 5 key_width, 6 value_width (at most
// 4 * kAttentionWidth), 7 whether values are shared with keys. kRows * kHeads <= kAttentionWidth;
// shared memory: kRows * kHeads * (key_width + 68) + kAttentionWidth words. Grid: x = key_heads *
// ceil(query heads per key head / kHeads), y = splits, z = ceil(rows / kRows).
QUERN_CONSTANT kAttentionWidth = 128;
struct AttentionPush {
  uint64_t q;         // f32 [rows][query_heads * key_width]
  uint64_t out_rows;  // f32 [rows][query_heads * value_width]
  uint64_t keys;      // the layer's cache
  uint64_t values;
  uint64_t rows;                    // BatchRow [rows]
  uint64_t tables;                  // uint32
  uint64_t sinks QUERN_DEFAULT(0);  // optional: f32 [query_heads], one more score without a value
  // Where there are several splits: f32 [grid z][grid x][splits][kRows * kHeads][2 + value_width],
  // and uint32 [grid z][grid x], which are 0 before and after.
  uint64_t partials QUERN_DEFAULT(0);
  uint64_t counters QUERN_DEFAULT(0);
  uint query_heads;
  uint key_heads;
  uint row_count;
  uint window QUERN_DEFAULT(0);  // > 0: only positions j > position - window
  float scale;
  float softcap QUERN_DEFAULT(0);  // > 0: score = softcap * tanh(score / softcap)
};
QUERN_PUSH(AttentionPush, 96);

// Experts of a step run as: a product gives the router's logits; route; with many rows,
// expert_lists; a gated product and the down product by tiles; sum_experts.
//
// route: chooses experts. p = softmax or sigmoid of the logits; the `used` experts with the largest
// p + selection_bias win (ties: lower index; NaN ranks last), out of the groups_used best of
// `groups` groups, where a group is as good as the sum of its two best. share = scale * p / (sum of
// the chosen p, if normalized) * factors[expert]. At most kMaxExperts experts. Grid: x is the row.
QUERN_CONSTANT kMaxExperts = 1024;
struct RoutePush {
  uint64_t logits;                           // f32 [rows][experts]
  uint64_t selection_bias QUERN_DEFAULT(0);  // optional: f32 [experts]
  uint64_t factors QUERN_DEFAULT(0);         // optional: f32 [experts]
  uint64_t tiles;                            // ExpertTile [rows][used]: one slot each, best first
  uint64_t shares;                           // f32 [rows][used]
  uint experts;
  uint used;
  uint groups QUERN_DEFAULT(1);
  uint groups_used QUERN_DEFAULT(1);
  uint sigmoid QUERN_DEFAULT(0);  // 1: p = sigmoid(logit), 0: softmax
  uint normalized QUERN_DEFAULT(1);
  float scale QUERN_DEFAULT(1);
  uint pad QUERN_DEFAULT(0);
};
QUERN_PUSH(RoutePush, 72);

// expert_lists: sorts the slots of a step by expert, for matmul. Grid: one workgroup.
struct ExpertListsPush {
  uint64_t choices;  // ExpertTile [slots], as route writes them
  uint64_t indices;  // uint32 [slots]: slots of the first expert, of the second, …
  uint64_t tiles;  // ExpertTile [tiles], each of at most kMatmulTile slots; the last ones are empty
  uint slots;
  uint experts;
  uint tile_count;  // at least slots / kMatmulTile + min(slots, experts)
  uint pad QUERN_DEFAULT(0);
};
QUERN_PUSH(ExpertListsPush, 40);

// double_tiles: the same tiles with twice the expert's number, for experts whose two matrices lie
// one after the other. Grid: x covers the tiles.
struct DoubleTilesPush {
  uint64_t tiles;    // ExpertTile [count]
  uint64_t doubled;  // the same
  uint count;
  uint pad QUERN_DEFAULT(0);
};
QUERN_PUSH(DoubleTilesPush, 24);

// sum_experts: out[row] = add[row] + Σ over ranks of share * product, in the order of the ranks.
// Grid: x covers the width, y is the row.
struct SumExpertsPush {
  uint64_t products;              // f32 [rows][used][width]
  uint64_t shares;                // f32 [rows][used]
  uint64_t add QUERN_DEFAULT(0);  // optional: f32 [rows][width]; may be out_rows
  uint64_t out_rows;              // f32 [rows][width]
  uint width;
  uint used;
};
QUERN_PUSH(SumExpertsPush, 40);

// Recurrent states of a step: each sequence's rows, and the slots of its state before and after
// them. The states of one operation lie together, f32 [slots][values of a state].
struct StateRun {
  uint begin;  // rows [begin, end); none: there is no such sequence
  uint end;
  uint from;  // slot; kPadding: zeros
  uint to;    // another slot
};

// causal_conv: out_t = activation(sum_j weight[j] * u_(t - (taps - 1) + j) (+ bias)) (* after) with
// u = in (* before); the state is [taps - 1][width], the last of u.
// Specialization constant 2: taps. Grid: x covers the width, y is the run.
struct CausalConvPush {
  uint64_t in_rows;                  // f32 [rows][width]
  uint64_t before QUERN_DEFAULT(0);  // optional: the same
  uint64_t after QUERN_DEFAULT(0);   // optional: the same
  uint64_t out_rows;                 // f32 [rows][width]
  uint64_t weight;                   // f32 [width][taps]
  uint64_t bias QUERN_DEFAULT(0);    // optional: f32 [width]
  uint64_t states;
  uint64_t runs;  // StateRun
  uint width;
  uint activation QUERN_DEFAULT(0);  // kActivation…
};
QUERN_PUSH(CausalConvPush, 72);

// gated_delta: see kernels/op.h, GatedDelta; the state is [value_heads][width][width].
// Specialization constant 2: width. Grid: x covers each head's columns in workgroups, then the
// value heads; y is the run.
QUERN_CONSTANT kMaxStateRows = 256;  // of a head's state
struct GatedDeltaPush {
  uint64_t mixed;     // f32 [rows][(2 * key_heads + value_heads) * width]
  uint64_t decay;     // f32 [rows][value_heads]
  uint64_t beta;      // the same
  uint64_t out_rows;  // f32 [rows][value_heads * width]
  uint64_t a;         // f32 [value_heads]
  uint64_t bias;      // the same, of decay
  uint64_t states;
  uint64_t runs;
  uint key_heads;
  uint value_heads;
  float epsilon;
  uint pad QUERN_DEFAULT(0);
};
QUERN_PUSH(GatedDeltaPush, 80);

// selective_scan: see kernels/op.h, SelectiveScan; the state is [heads][state_width][width].
// Specialization constant 2: state_width. Grid: as gated_delta.
struct SelectiveScanPush {
  uint64_t mixed;     // f32 [rows][heads * width + 2 * groups * state_width]
  uint64_t step;      // f32 [rows][heads]
  uint64_t out_rows;  // f32 [rows][heads * width]
  uint64_t a;         // f32 [heads]
  uint64_t bias;      // the same, of step
  uint64_t skip;      // the same
  uint64_t states;
  uint64_t runs;
  uint heads;
  uint width;
  uint groups;
  uint pad QUERN_DEFAULT(0);
};
QUERN_PUSH(SelectiveScanPush, 80);

// gated_norm: x = scale * norm(x) * activation(gate), or with gate_first scale * norm(x *
// activation(gate)), in place. Grid: x is the head, y the row.
struct GatedNormPush {
  uint64_t x;                        // f32 [rows][heads * width]
  uint64_t gate QUERN_DEFAULT(0);    // optional: the same
  uint64_t weight QUERN_DEFAULT(0);  // optional: f32 [width], or with own_head [heads * width]
  uint width;
  uint own_head;
  uint normalized;
  uint gate_first;
  uint activation;
  float epsilon;
  float scale;
  uint pad QUERN_DEFAULT(0);
};
QUERN_PUSH(GatedNormPush, 56);

// arrange: out[h][to + i] = in[first + h * stride + i] for all heads h and i < width.
// Grid: x covers heads * width, y is the row.
struct ArrangePush {
  uint64_t in_rows;   // f32 [rows][in_width]
  uint64_t out_rows;  // f32 [rows][heads * head_width]
  uint in_width;
  uint first;
  uint stride;
  uint to;
  uint width;
  uint heads;
  uint head_width;
  uint pad QUERN_DEFAULT(0);
};
QUERN_PUSH(ArrangePush, 48);

// head_tiles: tiles for a product whose slot s has a matrix of its own, that of head s % heads.
// Grid: x covers the slots.
struct HeadTilesPush {
  uint64_t tiles;  // ExpertTile [slots]
  uint slots;
  uint heads;
};
QUERN_PUSH(HeadTilesPush, 16);

// greedy: the index of the largest logit (ties: lower index; NaN counts as the lowest), out of the
// first `vocabulary` of a row. Grid: x is the row.
struct GreedyPush {
  uint64_t logits;  // f32 [rows][width]
  uint64_t tokens;  // uint32, row i at i * stride: 3 where it is BatchRow::token of the next step
  uint64_t values QUERN_DEFAULT(0);  // optional: f32 [rows], the logits themselves
  uint vocabulary;
  uint width;
  uint stride QUERN_DEFAULT(1);
  uint pad QUERN_DEFAULT(0);
};
QUERN_PUSH(GreedyPush, 40);

// top_k: the k largest of the first `vocabulary` logits of a row and their indices, best first
// (ties and NaN as in greedy). k <= kMaxTopK, k <= vocabulary; workgroups of kTopKWidth
// invocations. Grid: x is the row.
QUERN_CONSTANT kMaxTopK = 256;
QUERN_CONSTANT kTopKWidth = 256;
struct TopKPush {
  uint64_t logits;  // f32 [rows][width]
  uint64_t tokens;  // uint32 [rows][k]
  uint64_t values;  // f32 [rows][k]
  uint vocabulary;
  uint width;
  uint k;
  uint pad QUERN_DEFAULT(0);
};
QUERN_PUSH(TopKPush, 40);

#ifdef __cplusplus
#undef QUERN_CONSTANT
#undef QUERN_DEFAULT
#undef QUERN_PUSH
}  // namespace quern::shaders
#endif
#endif

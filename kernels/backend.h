// Backend: what a device must offer the engine. The engine sees this header and op.h, no device.
#pragma once

#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "gguf/result.h"
#include "kernels/op.h"

namespace quern::kernels {

// How keys and values are kept. kQ8_0: int8 with one f16 scale per 32 values of a head.
enum class CacheType { kF32, kF16, kQ8_0 };

// Positions per cache block: the unit that sequences own, share and copy.
inline constexpr uint32_t kBlockPositions = 64;

// How many blocks a cache has for each group of layers (Program::windows).
class BlockCounts {
 public:
  BlockCounts(uint32_t each) : each_(each) {}  // as many for every group
  explicit BlockCounts(std::vector<uint32_t> counts) : counts_(std::move(counts)) {}

  uint32_t operator[](size_t group) const { return counts_.empty() ? each_ : counts_[group]; }

 private:
  std::vector<uint32_t> counts_;
  uint32_t each_ = 0;
};

// The largest batch that an executable must accept.
struct MaxBatch {
  uint32_t rows;
  uint32_t logit_rows;
  uint32_t positions;  // longest sequence, in positions
};

// Where the recurrent state of a sequence is read before a step, and written after it: two slots of
// a cache, so that what a step has read is still there when the step ends, or fails.
struct StateSlots {
  uint32_t from = kAbsent;  // kAbsent: the sequence begins, its state is zeros
  uint32_t to = kAbsent;
};

// Rows to compute in one step. Each row has a token, its position, and the sequence it belongs to;
// rows of a sequence come in ascending position. Spans are borrowed for the call.
struct Batch {
  std::span<const int32_t> tokens;      // [rows]
  std::span<const uint32_t> positions;  // [rows]
  std::span<const uint32_t> sequences;  // [rows]
  // [sequences][groups of layers]: the cache blocks of a sequence in a group: position p lies in
  // block_table[p / 64]. Blocks of positions that no row sees may have any number that exists.
  std::span<const std::span<const uint32_t>> block_tables;
  std::span<const uint32_t> logit_rows;  // ascending row indices
  size_t part = 0;                       // index into Program::parts
  std::span<const float> input = {};     // [rows of the value][width]: the part's input, if any
  // Per sequence, only of programs that have states.
  std::span<const StateSlots> states = {};

  // The block table of a row in a layer.
  std::span<const uint32_t> blocks(const Program& program, uint32_t layer, size_t row) const {
    return block_tables[sequences[row] * program.windows.size() + program.layers[layer].group];
  }

  // The end of the rows that are of the same sequence as row `first`.
  size_t sequence_end(size_t first) const {
    size_t end = first;
    while (end < sequences.size() && sequences[end] == sequences[first]) ++end;
    return end;
  }
};

// Keys and values of all layers, in blocks of kBlockPositions positions, which every group of
// layers numbers on its own; and slots, each for the recurrent state of one sequence at one
// position.
class Cache {
 public:
  virtual ~Cache() = default;
  virtual uint64_t bytes() const = 0;
  virtual void copy_block(uint32_t group, uint32_t from, uint32_t to) = 0;
};

// Where a weight is while the engine lives. kMapped: the caller's bytes are read in place. kPacked:
// the backend makes its own copy, in the layout that its kernels read fastest; its memory is
// reserved by compile() and filled by Executable::pack().
enum class WeightHome { kMapped, kPacked };

// A way in which a device can compute products. Its error is at most `bound` * |w| * max |x| for a
// row w of weights (|w|² = Σ w²) and a row x of activations, on top of the rounding of f32 sums.
struct ProductVariant {
  std::string_view name;
  float bound;
};

// What a sampler needs instead of all logits: of each row the `count` largest of the first `ids`,
// at most kMostTopLogits.
struct TopRequest {
  uint32_t count, ids;  // 0 < count <= ids <= the row's width

  auto operator<=>(const TopRequest&) const = default;
};
inline constexpr uint32_t kMostTopLogits = 256;

struct TopLogit {
  uint32_t id;
  float logit;
};

// Told how many of a weight's bytes, from its first one on, are packed or on their device by now;
// they are mapped memory that is read no more. False ends loading.
using PackObserver = std::function<bool(WeightId, size_t bytes)>;

// A program bound to weights, a cache and workspace; made once and run for every batch.
class Executable {
 public:
  virtual ~Executable() = default;
  // Computes one part of the program for a batch and returns its output, [rows][width], valid until
  // the next run. When `cancel` becomes true the run ends early with ErrorKind::kCancelled; cache
  // entries of the batch's positions are then undefined.
  virtual Result<std::span<const float>> run(const Batch& batch,
                                             const std::atomic<bool>& cancel) = 0;
  // The same for the part that ends in logits, but of each row of them only the best:
  // [rows][count], the largest first, equal ones by ascending id, NaN last. A device that has the
  // logits in a memory of its own chooses there; otherwise they are read here.
  virtual Result<std::span<const TopLogit>> run_top(const Batch& batch, const TopRequest& request,
                                                    const std::atomic<bool>& cancel);
  // Later runs add the time they spend in each operation to seconds[i], i an index into
  // Program::ops; an empty span ends that. For benchmarks; a backend may ignore it.
  virtual void time_operations(std::span<double> seconds) { static_cast<void>(seconds); }
  // Later runs show what they multiply each matrix with: f32 [rows][values], the weight's name, and
  // which matrix of a stack of experts. For importance data; a backend may ignore it.
  using InputObserver = std::function<void(std::string_view weight, size_t expert,
                                           std::span<const float> rows, size_t values)>;
  virtual void observe_inputs(const InputObserver& observer) { static_cast<void>(observer); }
  // Between runs: packs weights of WeightHome::kPacked, a few megabytes at a time, until about
  // `bytes` more of them are. A run reads the others where they are mapped, and computes the same
  // to the bit. Returns the bytes that are left to pack. Error: "cancelled"; another call goes on.
  virtual Result<uint64_t> pack(uint64_t bytes, const PackObserver& packed = {}) {
    static_cast<void>(bytes), static_cast<void>(packed);
    return 0;
  }

 private:
  std::vector<TopLogit> top_;  // the last answer of run_top
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;

  // The ways to choose from, fastest first as far as one can tell without a measurement; the last
  // one, which is in use at first, is as exact as f32. None where there is no choice.
  virtual std::vector<ProductVariant> variants() const { return {}; }
  // What compile() uses from now on for products of few rows, and of many: names of variants().
  virtual void use_variants(std::string_view few, std::string_view many) {
    static_cast<void>(few), static_cast<void>(many);
  }

  // Exact bytes that compile() and make_cache() will allocate: of a cache for one block of every
  // group of layers.
  virtual uint64_t workspace_bytes(const Program& program, const MaxBatch& max) const = 0;
  virtual uint64_t cache_block_bytes(const Program& program, CacheType type) const = 0;

  // A state slot takes program.state_bytes().
  virtual Result<std::unique_ptr<Cache>> make_cache(const Program& program, CacheType type,
                                                    const BlockCounts& blocks,
                                                    uint32_t states = 0) = 0;
  // `weights` are bound to program.weights by index; they, and `cache`, must outlive the result.
  // `home` holds for all weights that can be packed; `copied` is called as weights are copied to a
  // device. Errors: "out-of-memory", "cancelled".
  virtual Result<std::unique_ptr<Executable>> compile(const Program& program,
                                                      std::span<const gguf::TensorView> weights,
                                                      Cache& cache, const MaxBatch& max,
                                                      WeightHome home = WeightHome::kMapped,
                                                      const PackObserver& copied = {}) = 0;
};

// The CPU backend; `threads` 0 means all processors.
std::unique_ptr<Backend> make_cpu_backend(size_t threads);

// Every operation in plain scalar C++, unquantized activations and cache: slow, for comparison.
std::unique_ptr<Backend> make_reference_backend();

// Several devices that compute a program together, as one backend. `device_of[g]` is the device of
// group g of that program (split.h).
std::unique_ptr<Backend> make_split_backend(std::vector<std::unique_ptr<Backend>> devices,
                                            std::vector<size_t> device_of);

}  // namespace quern::kernels

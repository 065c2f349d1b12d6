#include "engine/memory_plan.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <numeric>

#include "engine/plan_tables.h"
#include "engine/sampler/candidates.h"
#include "kernels/cpu_sizes.h"

namespace quern::engine {
namespace {

// What the program itself takes before it loads anything: code and libraries (they are files, but
// every process needs them), their data, the first heap.
constexpr uint64_t kProcessBytes = 6 << 20;
// A prompt: its text, the word cache of the tokenizer, ids, rows.
constexpr uint64_t kPromptBytes = 1 << 20;
constexpr uint64_t kPromptBytesPerToken = 48;
constexpr uint64_t kBytesPerPageTableEntry = 8, kPageBytes = 4096;
constexpr uint64_t kHugePageBytes = 2 << 20;
constexpr uint64_t kSlackDivisor = 128;  // 0.8 %

double bytes_per_value(kernels::CacheType type) {
  switch (type) {
    case kernels::CacheType::kF32:
      return 4;
    case kernels::CacheType::kF16:
      return 2;
    case kernels::CacheType::kQ8_0:
      return 1 + 2.0 / 32;
  }
  return 0;
}

// Far above any machine, far below where sums of a few thousand terms would wrap.
constexpr uint64_t kMost = uint64_t{1} << 50;

// The cache of one layer alone.
uint64_t layer_cache_bytes(const kernels::Heads& heads, kernels::CacheType type, uint64_t blocks) {
  kernels::Program alone;
  alone.layers = {heads};
  const uint64_t block = kernels::cpu_cache_block_bytes(alone, type);
  return blocks > kMost / block ? kMost : block * blocks;
}

// The layer of "blk.N.…", or the number of layers for tensors outside of them.
size_t layer_of(std::string_view name, size_t layers) {
  size_t layer = layers;
  if (name.starts_with("blk.")) std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return std::min(layer, layers);
}

std::vector<LayerPlan> plan_layers(const gguf::File& file, const Model& model, uint64_t blocks,
                                   kernels::CacheType type) {
  std::vector<LayerPlan> layers;
  for (const kernels::Heads& heads : model.program.layers) {
    layers.push_back({0, layer_cache_bytes(heads, type, blocks), 0});
  }
  for (const gguf::TensorView& tensor : file.tensors()) {
    const size_t layer = layer_of(tensor.name, layers.size());
    if (layer < layers.size()) layers[layer].weights += tensor.bytes.size();
  }
  return layers;
}

std::vector<CacheTerms> cache_terms(const Model& model, uint64_t blocks, kernels::CacheType type) {
  std::vector<CacheTerms> terms;
  for (const kernels::Heads& heads : model.program.layers) {
    const uint64_t bytes = layer_cache_bytes(heads, type, blocks);
    const auto same = std::ranges::find_if(terms, [&](const CacheTerms& t) {
      return t.kv_heads == heads.keys && t.key_width == heads.key_width &&
             t.value_width == heads.value_width;
    });
    if (same == terms.end()) {
      terms.push_back({1, heads.keys, heads.key_width, heads.value_width, bytes_per_value(type),
                       blocks * kernels::kBlockPositions, bytes});
    } else {
      ++same->layers;
      same->bytes += bytes;
    }
  }
  return terms;
}

// Session and sampler: logits of the last token twice, candidates, all tokens; the engine's rows.
uint64_t session_bytes(const EngineOptions& options, const Config& config) {
  const uint64_t vocabulary = config.vocabulary;
  const uint64_t each = vocabulary * 2 * sizeof(float) +
                        std::bit_ceil(vocabulary) * sizeof(Candidate) +
                        uint64_t{options.context} * 2 * sizeof(int32_t);
  return options.sequences * each + options.batch_rows * 2 * (sizeof(Row) + 4 * sizeof(uint32_t));
}

// Weights that are packed: bytes in the file, and in memory. Huge pages are taken whole.
struct PackedBytes {
  uint64_t from = 0, to = 0;
};

PackedBytes packed_bytes(const Model& model, const EngineOptions& options) {
  PackedBytes packed;
  if (options.weights == kernels::WeightHome::kMapped) return packed;
  for (kernels::WeightId id = 0; id < model.program.weights.size(); ++id) {
    const uint64_t bytes = kernels::cpu_packed_bytes(model.program, id);
    packed.to += bytes;
    if (bytes > 0) packed.from += model.program.weights[id].bytes();
  }
  packed.to = (packed.to + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  return packed;
}

HeapPlan plan_host(const gguf::File& file, const Model& model, const MemoryPlan& plan) {
  const EngineOptions& options = plan.options;
  const uint64_t blocks = sequence_blocks(options);
  const uint64_t block = kernels::cpu_cache_block_bytes(model.program, options.cache);
  const bool copied = plan.access == gguf::OpenOptions::Access::kRead;
  HeapPlan host{"host", {}};
  const auto add = [&](const char* name, uint64_t bytes, Backing backing = Backing::kAnonymous,
                       bool transient = false) {
    host.terms.push_back({name, backing, bytes, transient});
  };
  const PackedBytes packed = packed_bytes(model, options);
  add("weights", file.size_bytes() - (copied ? 0 : packed.from),
      copied ? Backing::kAnonymous : Backing::kFile);
  if (packed.to > 0) add("packed weights", packed.to);
  add("key/value cache", plan.cache_bytes());
  // The block that a fork copies into, and the pool's two tables.
  add("spare cache block", block + 2 * sizeof(uint32_t) * (blocks + 1));
  add("workspace",
      kernels::cpu_workspace_bytes(model.program, max_batch(options), options.threads));
  add("tokenizer", tokenizer_bytes(file));
  add("model tables", file_table_bytes(file) + model_bytes(model));
  add("session", session_bytes(options, model.config));
  add("threads", thread_bytes(options.threads));
  add("prompt", kPromptBytes + kPromptBytesPerToken * options.context, Backing::kAnonymous, true);
  add("process", kProcessBytes);
  add("slack", (host.bytes(Backing::kAnonymous) - host.bytes("weights") * copied) / kSlackDivisor);
  add("page tables", host.peak() / kPageBytes * kBytesPerPageTableEntry, Backing::kKernel);
  return host;
}

}  // namespace

std::string_view name(Backing backing) {
  switch (backing) {
    case Backing::kFile:
      return "file";
    case Backing::kAnonymous:
      return "anonymous";
    case Backing::kKernel:
      return "kernel";
  }
  return "";
}

uint64_t HeapPlan::peak() const {
  return std::accumulate(terms.begin(), terms.end(), uint64_t{0},
                         [](uint64_t sum, const PlanTerm& term) { return sum + term.bytes; });
}

uint64_t HeapPlan::steady() const {
  return std::accumulate(
      terms.begin(), terms.end(), uint64_t{0},
      [](uint64_t sum, const PlanTerm& term) { return sum + (term.transient ? 0 : term.bytes); });
}

uint64_t HeapPlan::bytes(Backing backing) const {
  return std::accumulate(terms.begin(), terms.end(), uint64_t{0},
                         [&](uint64_t sum, const PlanTerm& term) {
                           return sum + (term.backing == backing ? term.bytes : 0);
                         });
}

uint64_t HeapPlan::bytes(std::string_view term) const {
  const auto found = std::ranges::find(terms, term, &PlanTerm::name);
  return found == terms.end() ? 0 : found->bytes;
}

uint64_t MemoryPlan::cache_bytes() const {
  return std::accumulate(layers.begin(), layers.end(), uint64_t{0},
                         [](uint64_t sum, const LayerPlan& layer) { return sum + layer.cache; });
}

uint64_t MemoryPlan::weight_bytes() const {
  return host().bytes("weights") + host().bytes("packed weights");
}

MemoryPlan plan_memory(const gguf::File& file, const Model& model, const EngineOptions& options,
                       gguf::OpenOptions::Access access) {
  MemoryPlan plan{.options = resolve(options, model.config),
                  .access = access,
                  .heaps = {},
                  .layers = {},
                  .cache_terms = {}};
  const uint64_t blocks = sequence_blocks(plan.options);
  plan.layers = plan_layers(file, model, blocks, plan.options.cache);
  plan.cache_terms = cache_terms(model, blocks, plan.options.cache);
  plan.heaps.push_back(plan_host(file, model, plan));
  return plan;
}

}  // namespace quern::engine

// MemoryPlan: how much memory running a model will take, and for what, made from the metadata
// before anything is allocated. The terms are explained in docs/memory.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "gguf/file.h"

namespace quern::engine {

// What a byte is made of, and so what takes it when memory is short.
enum class Backing {
  kFile,       // pages of the mapped model file: the system can drop and read them again
  kAnonymous,  // allocated memory
  kKernel,     // the kernel's page tables
};
std::string_view name(Backing backing);  // "file"

struct PlanTerm {
  std::string name;
  Backing backing;
  uint64_t bytes;
  bool transient = false;  // only while a prompt is read
};

// One memory with a budget of its own: the host, later also each device.
struct HeapPlan {
  std::string name;
  std::vector<PlanTerm> terms;

  uint64_t peak() const;
  uint64_t steady() const;  // without the transient terms
  uint64_t bytes(Backing backing) const;
  uint64_t bytes(std::string_view term) const;  // 0 if there is none of this name
};

// One decoder layer: its share of the weights and of the cache.
struct LayerPlan {
  uint64_t weights, cache;
  size_t heap;  // index into MemoryPlan::heaps
};

// Layers with equal heads share the terms of the formula
//   cache = layers * kv_heads * (key_width + value_width) * bytes_per_value * positions
struct CacheTerms {
  uint32_t layers, kv_heads, key_width, value_width;
  double bytes_per_value;  // q8_0: 1 and a 32nd of an f16 scale
  uint64_t positions;      // of all sequences
  uint64_t bytes;          // with the padding of rows to whole groups
};

struct MemoryPlan {
  EngineOptions options;  // resolved
  gguf::OpenOptions::Access access;
  std::vector<HeapPlan> heaps;  // [0] is the host
  std::vector<LayerPlan> layers;
  std::vector<CacheTerms> cache_terms;

  const HeapPlan& host() const { return heaps[0]; }
  uint64_t cache_bytes() const;   // of all layers, without the spare block
  uint64_t weight_bytes() const;  // in the file or packed
};

// Plans `model`, read from `file`, under these options. `access` is how the file will be opened for
// the run. Nothing is allocated, no weight is read, no thread is started.
MemoryPlan plan_memory(const gguf::File& file, const Model& model, const EngineOptions& options,
                       gguf::OpenOptions::Access access = gguf::OpenOptions::Access::kMap);

}  // namespace quern::engine

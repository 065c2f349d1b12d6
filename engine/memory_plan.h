// MemoryPlan: how much memory running a model will take, and for what, made from the metadata
// before anything is allocated. The terms are explained in docs/memory.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/device_profile.h"
#include "engine/engine.h"
#include "gguf/file.h"

namespace quern::engine {

// What a byte is made of, and so what takes it when memory is short.
enum class Backing {
  kFile,       // pages of the mapped model file: the system can drop and read them again
  kAnonymous,  // allocated memory
  kKernel,     // the kernel's page tables
  kDevice,     // a device's own allocations
};
std::string_view name(Backing backing);  // "file"

struct PlanTerm {
  std::string name;
  Backing backing;
  uint64_t bytes;
  bool transient = false;  // only while a prompt is read
};

// One memory with a budget of its own: the host, or that of a device.
struct HeapPlan {
  std::string name;
  std::vector<PlanTerm> terms;
  bool in_host = false;  // of a device whose memory is the host's
  // Bytes of its largest allocation, and what the device allocates at once, at most; 0: not known.
  uint64_t largest = 0, max_allocation = 0;

  bool too_large_at_once() const { return max_allocation > 0 && largest > max_allocation; }
  uint64_t peak() const;
  uint64_t steady() const;  // without the transient terms
  uint64_t bytes(Backing backing) const;
  uint64_t bytes(std::string_view term) const;  // 0 if there is none of this name
};

// One decoder layer: its share of the weights and of the cache.
struct LayerPlan {
  uint64_t weights, cache;
  // Indices into MemoryPlan::heaps: of its attention and cache, and of its other half.
  size_t heap, other_heap;
  uint64_t cache_blocks;  // of kernels::kBlockPositions positions, of all sequences
};

// Layers with equal heads that keep as many positions share the terms of the formula
//   cache = layers * kv_heads * (key_width + value_width) * bytes_per_value * positions
struct CacheTerms {
  uint32_t layers, kv_heads, key_width, value_width;
  double bytes_per_value;  // q8_0: 1 and a 32nd of an f16 scale
  uint64_t positions;      // of all sequences; where layers have a window, what they keep
  uint64_t bytes;          // with the padding of rows to whole groups
};

// What a plan may take.
struct Budgets {
  static constexpr uint64_t kAnything = UINT64_MAX;

  uint64_t host = kAnything;      // bytes
  std::vector<uint64_t> devices;  // in the placement's order; none for the others
};

struct MemoryPlan {
  EngineOptions options;  // resolved
  gguf::OpenOptions::Access access;
  std::vector<HeapPlan> heaps;  // [0] is the host, then the devices of the placement
  std::vector<LayerPlan> layers;
  std::vector<CacheTerms> cache_terms;

  const HeapPlan& host() const { return heaps[0]; }
  // The host's peak with that of all devices whose memory is the host's.
  uint64_t host_peak() const;
  uint64_t device_peak() const;  // of all other devices
  uint64_t cache_bytes() const;  // of all layers, without the spare block
  bool fits(const Budgets& budgets) const;
};

// Plans `model`, read from `file`, under these options. `access` is how the file will be opened for
// the run; `devices` describes those of the placement, in its order, as far as it is known;
// `file_bytes` is what the file would be, 0: what it is. Nothing is allocated, no weight is read,
// no device is touched, no thread is started. Errors: those of place, "context-range", "no-vulkan".
Result<MemoryPlan> plan_memory(const gguf::File& file, const Model& model,
                               const EngineOptions& options,
                               gguf::OpenOptions::Access access = gguf::OpenOptions::Access::kMap,
                               std::span<const DeviceProfile> devices = {},
                               uint64_t file_bytes = 0);

// How far a plan's reservations are used. The system gives out their pages when they are first
// written, so that less than the plan is resident until the context is full.
struct Use {
  uint64_t blocks;     // of the cache, of all sequences
  uint32_t positions;  // of the longest sequence
  uint32_t rows;       // of the largest step
  uint64_t steps;      // of all sequences: each writes a recurrent state
};

// The host's planned anonymous bytes that are resident after such a use. Errors: those of place.
Result<uint64_t> used_bytes(const Model& model, const MemoryPlan& plan, const Use& use);

}  // namespace quern::engine

#include "engine/memory_plan.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <set>
#include <variant>

#include "engine/plan_devices.h"
#include "engine/plan_tables.h"
#include "engine/sampler/candidates.h"
#include "kernels/cpu_sizes.h"
#include "kernels/op_visit.h"
#include "kernels/split.h"

namespace quern::engine {
namespace {

// What the program itself takes before it loads anything: the data of its libraries and the first
// heap; and code, which are pages of files. Drivers of devices come on top.
constexpr uint64_t kProcessBytes = 3 << 19, kProgramBytes = 14 << 20;
// A prompt: its text, the word cache of the tokenizer, ids, rows.
constexpr uint64_t kPromptBytes = 1 << 20;
constexpr uint64_t kPromptBytesPerToken = 48;
constexpr uint64_t kBytesPerPageTableEntry = 8, kPageBytes = 4096;
constexpr uint64_t kHugePageBytes = 2 << 20;

uint64_t prompt_bytes(uint64_t tokens) { return kPromptBytes + kPromptBytesPerToken * tokens; }

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

// Where a model's parts are.
struct Where {
  kernels::Split split;
  std::vector<size_t> heap_of;  // per cache of the program
  // Per layer: the last of its groups.
  std::vector<size_t> other_heap;
};

// Groups to heaps, told by the weights and caches of their operations.
class Locator : public kernels::IdVisitor {
 public:
  Locator(const Model& model, Where& where) : model_(model), where_(where) {
    where.heap_of.resize(model.program.layers.size());
    where.other_heap.resize(model.program.layers.size());
  }
  void visit(const kernels::OpGroup& group, size_t heap) {
    heap_ = heap;
    for (size_t i = group.begin; i < group.end; ++i) {
      kernels::Op op = model_.program.ops[i];
      visit_ids(op, *this);
    }
  }

 private:
  void layer(uint32_t& id) override { where_.heap_of[id] = heap_; }
  void weight(kernels::WeightId& id) override {
    const auto layer = layer_of(model_.program.weights[id].name);
    if (layer && *layer < where_.other_heap.size()) where_.other_heap[*layer] = heap_;
  }

  const Model& model_;
  Where& where_;
  size_t heap_ = 0;
};

Result<Where> locate(const Model& model, const Placement& placement) {
  QUERN_TRY(const std::vector<size_t> device_of,
            place(model.program, model.config.layers, placement));
  Where where{kernels::split(model.program, device_of, placement.devices.size() + 1), {}, {}};
  Locator locator(model, where);
  const std::vector<kernels::OpGroup> groups = op_groups(model.program);
  for (size_t g = 0; g < groups.size(); ++g) locator.visit(groups[g], device_of[g]);
  return where;
}

std::string_view device_name(const Placement& placement, size_t heap) {
  return heap == 0 ? std::string_view("cpu") : placement.devices[heap - 1];
}

Result<std::vector<LayerPlan>> plan_layers(const gguf::File& file, const Model& model,
                                           const EngineOptions& options, const Where& where) {
  std::vector<LayerPlan> layers;
  for (size_t i = 0; i < model.program.layers.size(); ++i) {
    const kernels::Heads& heads = model.program.layers[i];
    const size_t heap = heads.keys > 0 ? where.heap_of[i] : where.other_heap[i];
    const uint64_t blocks = sequence_blocks(options, model.program.windows[heads.group]);
    QUERN_TRY(const uint64_t cache, layer_cache_bytes(device_name(options.placement, heap), heads,
                                                      options.cache, blocks));
    layers.push_back({0, cache, heap, where.other_heap[i], blocks});
  }
  for (const gguf::TensorView& tensor : file.tensors()) {
    const auto layer = layer_of(tensor.name);
    if (layer && *layer < layers.size()) layers[*layer].weights += tensor.bytes.size();
  }
  return layers;
}

std::vector<CacheTerms> cache_terms(const Model& model, const MemoryPlan& plan) {
  const double value = bytes_per_value(plan.options.cache);
  std::vector<CacheTerms> terms;
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const kernels::Heads& heads = model.program.layers[i];
    if (heads.keys == 0) continue;
    const uint64_t positions = plan.layers[i].cache_blocks * kernels::kBlockPositions;
    const auto same = std::ranges::find_if(terms, [&](const CacheTerms& t) {
      return t.kv_heads == heads.keys && t.key_width == heads.key_width &&
             t.value_width == heads.kept_values() && t.positions == positions;
    });
    if (same == terms.end()) {
      terms.push_back({1, heads.keys, heads.key_width, heads.kept_values(), value, positions,
                       plan.layers[i].cache});
    } else {
      ++same->layers;
      same->bytes += plan.layers[i].cache;
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

// Weights that do not stay in the mapped file: how much of it they are, and what packed ones take.
// Huge pages are taken whole.
struct MovedBytes {
  uint64_t from = 0, packed = 0;
  uint64_t stacked = 0;   // copied from the file, see StackedWeight
  uint64_t stacking = 0;  // the largest copy that is freed when it has moved
};

MovedBytes moved_bytes(const EngineOptions& options, const Model& model, const Where& where) {
  const std::vector<kernels::DeviceProgram>& devices = where.split.devices;
  MovedBytes moved;
  std::set<std::string_view> names;  // a tensor may be on several devices
  const auto file_bytes = [&](const kernels::WeightInfo& weight) {
    for (const StackedWeight& stacked : model.stacked) {
      if (model.program.weights[stacked.weight].name == weight.name) return stacked.file_bytes();
    }
    return weight.bytes();
  };
  const auto move = [&](const kernels::WeightInfo& weight) {
    if (names.insert(weight.name).second) moved.from += file_bytes(weight);
  };
  const kernels::Program& own = devices[0].program;
  for (const kernels::Op& op : own.ops) {
    const auto* embed = std::get_if<kernels::Embed>(&op);
    // Its rows are read in the file, wherever else the tensor is.
    if (embed && kernels::cpu_packed_bytes(own, embed->table) == 0) {
      names.insert(own.weights[embed->table].name);
    }
  }
  for (kernels::WeightId id = 0; id < own.weights.size(); ++id) {
    const bool packs = options.weights == kernels::WeightHome::kPacked;
    const uint64_t packed = packs ? kernels::cpu_packed_bytes(own, id) : 0;
    if (packed > 0) move(own.weights[id]);
    moved.packed += packed;
  }
  for (size_t i = 1; i < devices.size(); ++i) {
    if (options.placement.devices[i - 1] == kReferenceDevice) continue;  // reads the file
    for (const kernels::WeightInfo& weight : devices[i].program.weights) move(weight);
  }
  for (const StackedWeight& stacked : model.stacked) {
    const kernels::WeightInfo& weight = model.program.weights[stacked.weight];
    if (names.contains(weight.name)) {
      moved.stacking = std::max(moved.stacking, weight.bytes());
      continue;
    }
    moved.stacked += weight.bytes();
    move(weight);
  }
  moved.packed = (moved.packed + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  return moved;
}

HeapPlan plan_host(const gguf::File& file, uint64_t file_bytes, const Model& model,
                   const MemoryPlan& plan, const Where& where) {
  const EngineOptions& options = plan.options;
  const kernels::Program& own = where.split.devices[0].program;
  using Access = gguf::OpenOptions::Access;
  const bool copied = plan.access == Access::kRead;
  const bool releases = plan.access == Access::kMap;      // locked pages stay
  const size_t programs = plan.heaps.size() > 1 ? 2 : 1;  // a split has copies of its own
  HeapPlan host{"host", {}};
  const auto add = [&](const char* name, uint64_t bytes, Backing backing = Backing::kAnonymous,
                       bool transient = false) {
    host.terms.push_back({name, backing, bytes, transient});
  };
  uint64_t cache = 0;
  for (const LayerPlan& layer : plan.layers) cache += layer.heap == 0 ? layer.cache : 0;
  const MovedBytes moved = moved_bytes(options, model, where);
  add("weights", file_bytes - (releases ? moved.from : 0),
      copied ? Backing::kAnonymous : Backing::kFile);
  if (moved.packed > 0) add("packed weights", moved.packed);
  if (moved.stacked > 0) add("stacked weights", moved.stacked);
  if (moved.stacking > 0) add("stacking", moved.stacking, Backing::kAnonymous, true);
  add("key/value cache", cache);
  // The block that a fork copies into, and the pool's two tables.
  uint64_t pool = 0;
  for (const uint32_t window : model.program.windows) {
    pool += 2 * sizeof(uint32_t) * (sequence_blocks(options, window) + 1);
  }
  add("spare cache block", kernels::cpu_cache_block_bytes(own, options.cache) + pool);
  if (const uint64_t slots = state_slots(options, own)) {
    add("recurrent states", slots * own.state_bytes());
  }
  add("workspace", kernels::cpu_workspace_bytes(own, max_batch(options), options.threads));
  add("tokenizer", tokenizer_bytes(file));
  add("model tables", file_table_bytes(file) + programs * model_bytes(model));
  add("session", session_bytes(options, model.config));
  add("threads", thread_bytes(options.threads));
  add("prompt", prompt_bytes(options.context), Backing::kAnonymous, true);
  add("process", kProcessBytes);
  add("program", kProgramBytes, Backing::kFile);
  add("slack", (host.bytes(Backing::kAnonymous) - host.bytes("weights") * copied) / kSlackDivisor);
  add("page tables", host.peak() / kPageBytes * kBytesPerPageTableEntry, Backing::kKernel);
  return host;
}

// The parts of an engine by device.
Result<MemoryPlan> plan_parts(const gguf::File& file, const Model& model, MemoryPlan plan,
                              std::span<const DeviceProfile> devices, uint64_t file_bytes) {
  const Placement& placement = plan.options.placement;
  QUERN_TRY(const Where where, locate(model, placement));
  QUERN_TRY(plan.layers, plan_layers(file, model, plan.options, where));
  plan.cache_terms = cache_terms(model, plan);
  plan.heaps.emplace_back();  // the host's, which depends on whether there are others
  for (size_t i = 0; i < placement.devices.size(); ++i) {
    const std::string& name = placement.devices[i];
    DeviceProfile device = i < devices.size() ? devices[i] : DeviceProfile{};
    if (i >= devices.size()) device.in_host = name == kReferenceDevice;
    device.name = name;
    QUERN_TRY(HeapPlan heap, plan_device(device, where.split.devices[i + 1].program, plan.options));
    plan.heaps.push_back(std::move(heap));
  }
  plan.heaps[0] = plan_host(file, file_bytes, model, plan, where);
  return plan;
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
    case Backing::kDevice:
      return "device";
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

uint64_t MemoryPlan::host_peak() const {
  return std::accumulate(heaps.begin(), heaps.end(), uint64_t{0},
                         [&](uint64_t sum, const HeapPlan& heap) {
                           return sum + (heap.in_host || &heap == &heaps[0] ? heap.peak() : 0);
                         });
}

uint64_t MemoryPlan::device_peak() const {
  return std::accumulate(
      heaps.begin() + 1, heaps.end(), uint64_t{0},
      [](uint64_t sum, const HeapPlan& heap) { return sum + (heap.in_host ? 0 : heap.peak()); });
}

bool MemoryPlan::fits(const Budgets& budgets) const {
  if (host_peak() > budgets.host) return false;
  for (size_t i = 0; i < budgets.devices.size() && i + 1 < heaps.size(); ++i) {
    if (heaps[i + 1].peak() > budgets.devices[i]) return false;
  }
  return std::ranges::none_of(heaps, &HeapPlan::too_large_at_once);
}

Result<uint64_t> used_bytes(const Model& model, const MemoryPlan& plan, const Use& use) {
  QUERN_TRY(const Where where, locate(model, plan.options.placement));
  const kernels::Program& own = where.split.devices[0].program;
  const EngineOptions& options = plan.options;
  const HeapPlan& host = plan.host();
  uint64_t used = host.bytes(Backing::kAnonymous);
  const auto replace = [&](std::string_view term, uint64_t bytes) {
    used -= host.bytes(term);
    used += std::min(bytes, host.bytes(term));
  };
  uint64_t tiles = 0;  // keys and values of each head lie apart: each may end in a page
  for (const kernels::Heads& heads : own.layers) tiles += 2 * uint64_t{heads.keys};
  uint64_t cache = 0;
  for (const LayerPlan& layer : plan.layers) {
    if (layer.heap != 0) continue;
    cache += layer.cache / layer.cache_blocks * std::min(use.blocks, layer.cache_blocks);
  }
  const uint64_t arrays = own.values.size() + options.threads + 8;
  const kernels::MaxBatch batch{.rows = std::max(1u, std::min(use.rows, options.batch_rows)),
                                .logit_rows = options.logit_rows,
                                .positions = std::max(1u, use.positions)};
  replace("key/value cache", cache + kPageBytes * tiles);
  replace("spare cache block", 0);
  replace("recurrent states", (use.steps + options.sequences) * own.state_bytes());
  replace("workspace",
          kernels::cpu_workspace_bytes(own, batch, options.threads) + 2 * kPageBytes * arrays);
  // Candidates double in number as they grow, and the last half is never full.
  const uint64_t vocabulary = model.config.vocabulary;
  replace("session", host.bytes("session") - options.sequences * sizeof(Candidate) *
                                                 (std::bit_ceil(vocabulary) - vocabulary));
  replace("prompt", prompt_bytes(use.positions));
  replace("slack", 0);
  const bool copied = plan.access == gguf::OpenOptions::Access::kRead;
  const uint64_t slack = (used - host.bytes("weights") * copied) / kSlackDivisor;
  return used + std::min(slack, host.bytes("slack"));
}

Result<MemoryPlan> plan_memory(const gguf::File& file, const Model& model,
                               const EngineOptions& options, gguf::OpenOptions::Access access,
                               std::span<const DeviceProfile> devices, uint64_t file_bytes) {
  MemoryPlan plan{.options = resolve(options, model),
                  .access = access,
                  .heaps = {},
                  .layers = {},
                  .cache_terms = {}};
  QUERN_CHECK(check_context(plan.options, model));
  return plan_parts(file, model, std::move(plan), devices,
                    file_bytes > 0 ? file_bytes : file.size_bytes());
}

}  // namespace quern::engine

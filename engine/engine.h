// Engine: one loaded model, ready to compute batches of rows for any number of sequences.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/model.h"
#include "engine/placement.h"
#include "engine/sequence.h"
#include "gguf/file.h"
#include "kernels/backend.h"

namespace quern::engine {

// Set from another thread or a signal handler to stop a running step.
using CancelToken = std::atomic<bool>;

struct EngineOptions {
  // Positions per sequence when neither the user nor a smaller model says otherwise.
  static constexpr uint32_t kDefaultContext = 8192;

  size_t threads = 0;    // 0: all processors
  uint32_t context = 0;  // positions per sequence; 0: the model's, at most kDefaultContext
  kernels::CacheType cache = kernels::CacheType::kF16;
  uint32_t batch_rows = 512;  // rows computed in one step
  uint32_t logit_rows = 1;    // rows of a step that can return logits
  uint32_t sequences = 1;     // full-length sequences that the cache has room for
  // Forks of these that go on too: layers with a window then keep one more each.
  uint32_t forks = 0;
  // Packed weights are faster; mapped ones can be dropped when memory is short, and read again.
  kernels::WeightHome weights = kernels::WeightHome::kPacked;
  Placement placement = {};
  // Leave packing to the first steps after the first one, which reads mapped weights: the first
  // token comes sooner, the next ones later.
  bool pack_while_running = false;
  bool check_weights = true;  // look for NaN and infinite scales; reads the whole file once
  // Told how far loading is, 0 to 1, every few megabytes while weights are checked and packed.
  // False ends loading ("cancelled").
  std::function<bool(double)> progress = {};
  // Told in one sentence when a device fails after loading and the CPU goes on alone.
  std::function<void(const std::string&)> notice = {};
  // Opens a device of the placement in another way than make_device does: for tests.
  std::function<Result<std::unique_ptr<kernels::Backend>>(const std::string&)> open_device = {};
  // Told how far the test of a device (Placement::devices) is, 0 to 1, which takes seconds at its
  // first use.
  std::function<void(const std::string& device, double)> testing = {};
};

// The options with their defaults filled in for a model.
EngineOptions resolve(EngineOptions options, const Model& model);
// Whether a model has so many positions, and a cache so many blocks. Error: "context-range".
Status check_context(const EngineOptions& resolved, const Model& model);
// Of resolved options: cache blocks (kernels::kBlockPositions positions each) that the sequences
// need of layers with this window (0: none), without the spare one; and the largest step.
uint64_t sequence_blocks(const EngineOptions& options, uint32_t window = 0);
// The blocks that one sequence keeps of them: those of its window, of the longest step and one
// more, so that rewinding a little is free.
uint64_t window_blocks(const EngineOptions& options, uint32_t window);
// What the cache has for every group of layers, with the spare one.
std::vector<BlockGroup> block_groups(const EngineOptions& options, const kernels::Program& program);
kernels::MaxBatch max_batch(const EngineOptions& options);
// Slots for recurrent states: those of the sequences, and two that forks go on with.
uint64_t state_slots(const EngineOptions& options, const kernels::Program& program);

// One token to compute, as the next position of its sequence.
struct Row {
  Sequence* sequence;
  int32_t token;
  bool logits;  // whether its logits are wanted
};

class LoadProgress;  // load_weights.h

class Engine {
 public:
  // Takes the file; it stays mapped as long as the engine lives. Errors: those of read_model,
  // "weights-corrupt", "cancelled", "context-range", "out-of-memory", "threads", "file-changed";
  // those of place, and with Placement::strict of the devices. Otherwise, after a failure of a
  // device, fewer layers or none are on devices, as options() and a warning of the model say.
  static Result<std::unique_ptr<Engine>> load(gguf::File file, const EngineOptions& options);

  const gguf::File& file() const { return file_; }
  const Model& model() const { return model_; }
  const EngineOptions& options() const { return options_; }  // with defaults resolved
  uint32_t context() const { return options_.context; }
  uint32_t vocabulary() const { return model_.config.vocabulary; }

  Sequence new_sequence() { return Sequence(*pool_); }

  // Computes all rows (at most batch_rows; rows of a sequence in order, next to each other) and
  // appends them to their sequences. Returns logits [rows that want them][vocabulary], valid until
  // the next step. On an error no sequence has grown. Errors: "token-range", "context-full",
  // "cache-full", "cancelled", "file-changed", "out-of-memory"; with Placement::strict those of a
  // device, otherwise "state-lost" when one has failed: all sequences are lost (Sequence::lost)
  // and, after a rewind, can be computed again, on the CPU.
  Result<std::span<const float>> step(std::span<const Row> rows, const CancelToken& cancel);

  // The same, but returns of each of these rows only the best logits, [rows][request.count], as
  // kernels::Executable::run_top does. Devices need not hand all logits over then.
  Result<std::span<const kernels::TopLogit>> step_top(std::span<const Row> rows,
                                                      const kernels::TopRequest& request,
                                                      const CancelToken& cancel);

  // Packs what is left to pack (EngineOptions::pack_while_running). Error: "cancelled", with which
  // nothing is lost.
  Status pack(const CancelToken& cancel);
  uint64_t bytes_to_pack() const { return bytes_to_pack_; }

  // See kernels::Executable; seconds has one value per operation of model().program, or none.
  void time_operations(std::span<double> seconds) {
    if (executable_) executable_->time_operations(seconds);
  }
  void observe_inputs(const kernels::Executable::InputObserver& observer) {
    if (executable_) executable_->observe_inputs(observer);
  }

 private:
  struct Gathered;

  Engine(gguf::File file, Model model, const EngineOptions& options);
  static Result<std::unique_ptr<Engine>> load_checked(gguf::File file,
                                                      const EngineOptions& options);
  // These say in `retreated` what was left to the CPU for a device's failure.
  Status open_devices(std::string& retreated);
  Status read_weights(std::string& retreated);
  Status retreat(const Error& error, std::string& retreated);
  void close_devices();
  // Makes the cache and the executable, on the devices that are open.
  Status allocate(LoadProgress& progress);
  // Until about `bytes` more of the weights are packed; gives back what was mapped of them.
  Status pack_weights(uint64_t bytes, LoadProgress& progress);
  Status pack_weights(uint64_t bytes, const CancelToken& cancel);
  // Gives back the mapped bytes of weights that were copied.
  kernels::PackObserver copy_observer(LoadProgress& progress);
  // What to tell the caller of a failed step: if it was a device, the CPU is alone from here on.
  Error without_device(Error error);
  Status go_on(const CancelToken& cancel);  // makes what without_device() has left to be made
  Status check_rows(const Gathered& gathered) const;
  // run(batch) computes what is wanted of it.
  template <typename Run>
  auto compute(std::span<const Row> rows, const CancelToken& cancel, const Run& run)
      -> decltype(run(kernels::Batch{}));

  gguf::File file_;
  Model model_;
  EngineOptions options_;
  std::unique_ptr<kernels::Backend> backend_;
  std::unique_ptr<StatePool> pool_;
  std::unique_ptr<kernels::Executable> executable_;  // null: a device has failed, see go_on()
  uint64_t bytes_to_pack_ = 0;
  uint64_t bytes_per_step_ = 0;  // that the next step packs first
};

}  // namespace quern::engine

// Several devices as one backend: each computes its part of the program, then hands one value on.
#include <algorithm>
#include <vector>

#include "kernels/backend.h"
#include "kernels/split.h"

namespace quern::kernels {
namespace {

// What every device keeps of a block.
class SplitCache final : public Cache {
 public:
  explicit SplitCache(std::vector<std::unique_ptr<Cache>> caches) : caches_(std::move(caches)) {}

  uint64_t bytes() const override {
    uint64_t sum = 0;
    for (const auto& cache : caches_) sum += cache->bytes();
    return sum;
  }
  void copy_block(uint32_t group, uint32_t from, uint32_t to) override {
    for (const auto& cache : caches_) cache->copy_block(group, from, to);
  }
  Cache& of(size_t device) { return *caches_[device]; }

 private:
  std::vector<std::unique_ptr<Cache>> caches_;  // per device
};

class SplitExecutable final : public Executable {
 public:
  explicit SplitExecutable(Split split)
      : split_(std::move(split)), seconds_(split_.devices.size()) {}

  Status compile(std::span<const std::unique_ptr<Backend>> backends,
                 std::span<const gguf::TensorView> weights, SplitCache& cache, const MaxBatch& max,
                 WeightHome home, const PackObserver& copied) {
    for (size_t i = 0; i < backends.size(); ++i) {
      const DeviceProgram& device = split_.devices[i];
      std::vector<gguf::TensorView> own;
      for (const WeightId id : device.weights) own.push_back(weights[id]);
      executables_.emplace_back();
      if (device.program.parts.empty()) continue;
      QUERN_TRY(executables_.back(), backends[i]->compile(device.program, own, cache.of(i), max,
                                                          home, of_device(i, copied)));
    }
    return {};
  }

  // Device after device.
  Result<uint64_t> pack(uint64_t bytes, const PackObserver& packed) override {
    uint64_t left = 0;
    for (size_t i = 0; i < executables_.size(); ++i) {
      if (!executables_[i]) continue;
      QUERN_TRY(const uint64_t before, executables_[i]->pack(0));
      QUERN_TRY(const uint64_t after, executables_[i]->pack(bytes, of_device(i, packed)));
      bytes -= std::min(bytes, before - after);
      left += after;
    }
    return left;
  }

  Result<std::span<const float>> run(const Batch& batch, const std::atomic<bool>& cancel) override {
    QUERN_TRY(const Batch last, run_until_last(batch, cancel));
    QUERN_TRY(const auto output, executables_[split_.turns.back().device]->run(last, cancel));
    add_times();
    return output;
  }

  // The device that has the logits chooses.
  Result<std::span<const TopLogit>> run_top(const Batch& batch, const TopRequest& request,
                                            const std::atomic<bool>& cancel) override {
    QUERN_TRY(const Batch last, run_until_last(batch, cancel));
    QUERN_TRY(const auto best,
              executables_[split_.turns.back().device]->run_top(last, request, cancel));
    add_times();
    return best;
  }

  void time_operations(std::span<double> seconds) override {
    total_ = seconds;
    for (size_t device = 0; device < seconds_.size(); ++device) {
      seconds_[device].assign(seconds.empty() ? 0 : split_.devices[device].ops.size(), 0.0);
      if (executables_[device]) executables_[device]->time_operations(seconds_[device]);
    }
  }

  void observe_inputs(const InputObserver& observer) override {
    for (const auto& executable : executables_) {
      if (executable) executable->observe_inputs(observer);
    }
  }

 private:
  // The observer, told of weights by their ids in a device's program.
  PackObserver of_device(size_t device, const PackObserver& observer) const {
    return [&ids = split_.devices[device].weights, &observer](WeightId id, size_t bytes) {
      return !observer || observer(ids[id], bytes);
    };
  }

  // All turns but the last, whose batch is returned.
  Result<Batch> run_until_last(const Batch& batch, const std::atomic<bool>& cancel) {
    Batch part = batch;
    for (const Turn& turn : split_.turns) {
      part.part = turn.part;
      if (&turn == &split_.turns.back()) break;
      QUERN_TRY(part.input, executables_[turn.device]->run(part, cancel));
    }
    return part;
  }

  void add_times() {
    for (size_t device = 0; !total_.empty() && device < seconds_.size(); ++device) {
      for (size_t i = 0; i < seconds_[device].size(); ++i) {
        total_[split_.devices[device].ops[i]] += std::exchange(seconds_[device][i], 0.0);
      }
    }
  }

  const Split split_;
  std::vector<std::unique_ptr<Executable>> executables_;  // per device; null: it computes nothing
  std::vector<std::vector<double>> seconds_;              // per device and operation of its program
  std::span<double> total_;                               // per operation of the whole, or empty
};

class SplitBackend final : public Backend {
 public:
  SplitBackend(std::vector<std::unique_ptr<Backend>> devices, std::vector<size_t> device_of)
      : devices_(std::move(devices)), device_of_(std::move(device_of)) {}

  std::string_view name() const override { return "split"; }

  uint64_t workspace_bytes(const Program& program, const MaxBatch& max) const override {
    return sum(program, [&](const Backend& backend, const Program& own) {
      return backend.workspace_bytes(own, max);
    });
  }

  uint64_t cache_block_bytes(const Program& program, CacheType type) const override {
    return sum(program, [&](const Backend& backend, const Program& own) {
      return backend.cache_block_bytes(own, type);
    });
  }

  Result<std::unique_ptr<Cache>> make_cache(const Program& program, CacheType type,
                                            const BlockCounts& blocks, uint32_t states) override {
    const Split split = cut(program);
    std::vector<std::unique_ptr<Cache>> caches;
    for (size_t i = 0; i < devices_.size(); ++i) {
      caches.emplace_back();
      QUERN_TRY(caches.back(),
                devices_[i]->make_cache(split.devices[i].program, type, blocks, states));
    }
    return std::make_unique<SplitCache>(std::move(caches));
  }

  Result<std::unique_ptr<Executable>> compile(const Program& program,
                                              std::span<const gguf::TensorView> weights,
                                              Cache& cache, const MaxBatch& max, WeightHome home,
                                              const PackObserver& copied) override {
    auto executable = std::make_unique<SplitExecutable>(cut(program));
    QUERN_CHECK(
        executable->compile(devices_, weights, static_cast<SplitCache&>(cache), max, home, copied));
    return executable;
  }

 private:
  Split cut(const Program& program) const { return split(program, device_of_, devices_.size()); }

  template <typename Bytes>
  uint64_t sum(const Program& program, const Bytes& bytes) const {
    const Split split = cut(program);
    uint64_t total = 0;
    for (size_t i = 0; i < devices_.size(); ++i) {
      total += bytes(*devices_[i], split.devices[i].program);
    }
    return total;
  }

  std::vector<std::unique_ptr<Backend>> devices_;
  std::vector<size_t> device_of_;
};

}  // namespace

std::unique_ptr<Backend> make_split_backend(std::vector<std::unique_ptr<Backend>> devices,
                                            std::vector<size_t> device_of) {
  return std::make_unique<SplitBackend>(std::move(devices), std::move(device_of));
}

}  // namespace quern::kernels

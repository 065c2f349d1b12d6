#include "engine/plan_speed.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/split.h"
#include "kernels/work.h"

namespace quern::engine {
namespace {

// The share of a device's best rates that attention reaches, while decoding and in a prompt.
constexpr double kCacheShare = 0.5, kAttentionShare = 0.25;

// What the devices of one placement do in a step; adds up seconds.
class Clock {
 public:
  // `read`: bytes per second that the memory gives.
  Clock(const Model& model, const EngineOptions& options, const MachineSpeeds& machine, double read)
      : program_(model.program), options_(options) {
    devices_.push_back({&machine.cpu, read, machine.peaks.fp32_peak, read});
    for (const std::string& name : options.placement.devices) {
      const auto found = machine.devices.find(name);
      devices_.push_back(found == machine.devices.end() ? Device{} : of(found->second));
    }
  }

  bool estimated() const { return estimated_; }

  // Of a step; nullopt if nothing is known of a device. `decode`: one row, so that bytes count.
  std::optional<double> seconds(std::span<const size_t> device_of, const kernels::Rows& rows,
                                bool decode) {
    const std::vector<kernels::OpGroup> groups = op_groups(program_);
    double sum = 0;
    size_t before = devices_.size();
    for (size_t g = 0; g < groups.size(); ++g) {
      const Device& device = devices_[device_of[g]];
      if (!device.speeds || device.speeds->formats.empty()) return std::nullopt;
      estimated_ = estimated_ || device_of[g] > 0;
      if (device_of[g] != std::exchange(before, device_of[g])) sum += device.speeds->costs.run;
      for (size_t i = groups[g].begin; i < groups[g].end; ++i) {
        sum += of_op(program_.ops[i], device, rows, decode);
      }
    }
    return sum;
  }

 private:
  struct Device {
    const DeviceSpeeds* speeds = nullptr;
    double cache_bytes = 0, attention_operations = 0;  // per second, before the shares above
    double read =
        0;  // bytes per second that its memory gives; 0: as when its kernels were measured
  };

  // A GPU's attention reads as its best matrices do.
  static Device of(const DeviceSpeeds& speeds) {
    Device device{&speeds};
    for (const auto& [format, rates] : speeds.formats) {
      device.cache_bytes = std::max(device.cache_bytes, rates.decode_bytes);
      device.attention_operations = std::max(device.attention_operations, rates.prefill_operations);
    }
    return device;
  }

  // A format that was not measured is as fast as the one nearest in size.
  const kernels::KernelRates& rates(const Device& device, gguf::Format format) {
    const auto& known = device.speeds->formats;
    if (const auto found = known.find(format); found != known.end()) return found->second;
    estimated_ = true;
    const auto distance = [&](const auto& entry) {
      return std::abs(gguf::info(entry.first).bits_per_value() -
                      gguf::info(format).bits_per_value());
    };
    return std::ranges::min_element(known, {}, distance)->second;
  }

  // Bytes per second: one row of a product waits for memory, and takes some time of its own for
  // each byte, which stays the same when memory changes.
  static double decode_rate(const Device& device, const kernels::KernelRates& rates) {
    if (device.read == 0 || rates.read_bandwidth == 0) return rates.decode_bytes;
    const double own = std::max(0.0, 1 / rates.decode_bytes - 1 / rates.read_bandwidth);
    return 1 / (1 / device.read + own);
  }

  double of_op(const kernels::Op& op, const Device& device, const kernels::Rows& rows,
               bool decode) {
    double seconds = device.speeds->costs.operation;
    const std::vector<kernels::MatrixWork> matrices = matrices_of(op, program_, rows);
    for (const kernels::MatrixWork& matrix : matrices) {
      const kernels::KernelRates& rate = rates(device, program_.weights[matrix.weight].format);
      seconds +=
          decode ? matrix.bytes / decode_rate(device, rate) : matrix.ops / rate.prefill_operations;
    }
    if (!matrices.empty()) return seconds;
    // Attention and recurrences read what the sequence left.
    const kernels::Work work = work_of(op, program_, options_.cache, rows);
    return seconds + (decode ? work.bytes / (kCacheShare * device.cache_bytes)
                             : (work.int8_ops + work.fp32_ops) /
                                   (kAttentionShare * device.attention_operations));
  }

  const kernels::Program& program_;
  const EngineOptions& options_;
  std::vector<Device> devices_;
  bool estimated_ = false;
};

}  // namespace

double MachineSpeeds::expected_read() const {
  if (reads.empty()) return peaks.read_bandwidth_all;
  const double sum = std::accumulate(reads.begin(), reads.end(), 0.0);
  return (reads.back() + sum / static_cast<double>(reads.size())) / 2;
}

Result<std::vector<std::set<gguf::Format>>> formats_needed(const Model& model,
                                                           const Placement& placement) {
  QUERN_TRY(const auto device_of, place(model.program, model.config.layers, placement));
  const std::vector<kernels::OpGroup> groups = op_groups(model.program);
  std::vector<std::set<gguf::Format>> formats(placement.devices.size() + 1);
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t i = groups[g].begin; i < groups[g].end; ++i) {
      for (const auto& matrix : matrices_of(model.program.ops[i], model.program, {0, 1, 1})) {
        formats[device_of[g]].insert(model.program.weights[matrix.weight].format);
      }
    }
  }
  return formats;
}

std::optional<Speed> predict_speed(const Model& model, const EngineOptions& options,
                                   const MachineSpeeds& machine, uint32_t positions) {
  const auto device_of = place(model.program, model.config.layers, options.placement);
  if (!device_of) return std::nullopt;
  const double read = machine.expected_read();
  // A prompt is computed in steps; the middle one is as good as the mean.
  const uint64_t rows = std::max<uint64_t>(1, std::min(options.batch_rows, positions));
  const uint64_t middle = positions > rows ? (positions - rows) / 2 : 0;
  Clock clock(model, options, machine, read);
  const auto decode = clock.seconds(*device_of, {positions, 1, 1}, true);
  const auto prefill = clock.seconds(*device_of, {middle, rows, 1}, false);
  if (!decode || !prefill) return std::nullopt;
  const double error = clock.estimated() ? Speed::kEstimated : Speed::kMeasured;
  const auto [slowest, fastest] =
      std::ranges::minmax(machine.reads.empty() ? std::vector{read} : machine.reads);
  const auto decode_with = [&](double seen) {
    return 1 / *Clock(model, options, machine, seen).seconds(*device_of, {positions, 1, 1}, true);
  };
  const double prompt = static_cast<double>(rows) / *prefill;
  return Speed{1 / *decode,
               prompt,
               {decode_with(slowest) * (1 - error), decode_with(fastest) * (1 + error)},
               {prompt * (1 - error), prompt * (1 + error)}};
}

}  // namespace quern::engine

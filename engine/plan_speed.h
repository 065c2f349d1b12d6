// How fast a plan will run: the work of one token over what the machine can do (rooflines; Williams
// et al., "Roofline", 2009), with the rates that the kernels really reach.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kernels/kernel_probe.h"
#include "kernels/probe.h"

namespace quern::engine {

// What the kernels of one device were measured to do.
struct DeviceSpeeds {
  std::map<gguf::Format, kernels::KernelRates> formats;  // those that were needed so far
  kernels::KernelCosts costs;
};

// What a machine can do: its peaks, and what kernels make of them.
struct MachineSpeeds {
  kernels::MachineProfile peaks;
  DeviceSpeeds cpu;
  std::map<std::string, DeviceSpeeds> devices;  // by name, "vulkan:0"
  // Bytes/s that all threads were seen to read whenever somebody looked, the latest look last;
  // none: not known. The memory of a machine has states: clocks and neighbours change it.
  std::vector<double> reads = {};

  // Bytes/s to expect of the next seconds. States last for about a second, and their mean drifts
  // over minutes, so that one look says as much as all others together: half the latest look, half
  // the mean of all. Without looks the peak.
  double expected_read() const;
};

// Tokens per second, with the memory that is to be expected. The ranges are those of the slowest
// and the fastest memory seen, and of how far off predictions were for the same memory.
struct Speed {
  // Shares by which measured speeds differed from predicted ones (docs/memory.md): where all is on
  // the CPU and its formats were measured; and where a part is on a device, or a format's rate is
  // taken from the one that is nearest in size.
  static constexpr double kMeasured = 0.1, kEstimated = 0.4;
  struct Range {
    double low, high;
  };

  double decode, prefill;
  Range decode_range, prefill_range;
};

// Formats of the matrices that each device of the placement multiplies with; [0]: the CPU. Errors:
// those of place.
Result<std::vector<std::set<gguf::Format>>> formats_needed(const Model& model,
                                                           const Placement& placement);

// The speed of a model under resolved options. `positions`: tokens already in the context while
// decoding, and the length of the prompt. nullopt if nothing is known of a device.
std::optional<Speed> predict_speed(const Model& model, const EngineOptions& options,
                                   const MachineSpeeds& machine, uint32_t positions);

}  // namespace quern::engine

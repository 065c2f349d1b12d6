// The backend of an engine: the CPU alone or with the devices of its placement, and what is left
// when one of them fails.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace quern::engine {

// The CPU alone, or with the devices that take part. A device that computes wrong takes none: the
// CPU does its part, which `warnings` says, or with Placement::strict it is an error. Errors: those
// of place and of the devices, "device-wrong".
Result<std::unique_ptr<kernels::Backend>> make_backend(const Model& model,
                                                       const EngineOptions& options,
                                                       std::vector<std::string>& warnings);

// Whether the CPU can go on after this error: it is a device's, and not to be strict about.
bool can_go_on(const Error& error, const Placement& placement);

// The options that leave everything to the CPU. Weights stay in the mapped file where there is no
// room for packed copies of them. Errors: those of plan_memory.
Result<EngineOptions> without_devices(const gguf::File& file, const Model& model,
                                      EngineOptions options);

// The options that ask less of the devices after one of them had no memory: as many layers as fit
// by what their drivers say is free, and at most three quarters if they say that all fit. Errors:
// those of plan_memory and describe_device.
Result<EngineOptions> with_fewer_layers(const gguf::File& file, const Model& model,
                                        EngineOptions options);

}  // namespace quern::engine

// Which devices compute right: tested at their first use with a driver and a build of the kernels,
// and remembered in a file.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/result.h"
#include "kernels/backend.h"
#include "kernels/conformance.h"

namespace quern::engine {

struct DeviceTrust {
  std::vector<kernels::Finding> faults;  // none: the device computes right
  size_t checks = 0;                     // that were made
  bool remembered = false;               // not tested now

  // The first fault in words, and how many more there are.
  std::string summary() const;
};

struct TrustOptions {
  std::string cache_folder;                   // where results are remembered; empty: nowhere
  bool again = false;                         // whatever is remembered
  std::function<void(double)> progress = {};  // of a test, 0 to 1
};

// Of "vulkan:NAME", whose backend is `device`. The software reference is always trusted. Errors:
// those of kernels::find_vulkan_device. A result that cannot be written is found again next time.
Result<DeviceTrust> device_trust(std::string_view name, kernels::Backend& device,
                                 const TrustOptions& options);

}  // namespace quern::engine

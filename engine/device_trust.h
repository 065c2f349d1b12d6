// Which devices compute right: tested at their first use with a driver and a build of the kernels,
// and remembered in a file.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/result.h"
#include "kernels/backend.h"
#include "kernels/conformance.h"
#include "kernels/kernel_probe.h"

namespace quern::engine {

// A variant of products (kernels::Backend::variants) as it was tested.
struct VariantTrust {
  std::string name;
  std::vector<kernels::Finding> faults;  // some: it is not used
  kernels::KernelRates rates;            // of Q4_K; 0: not measured
};

struct DeviceTrust {
  std::vector<kernels::Finding> faults;  // none: the device computes right
  std::vector<VariantTrust> variants;    // fastest first as one would expect, the last one exact
  size_t checks = 0;                     // that were made, of the device and of all variants
  std::vector<gguf::Format> formats;     // that were tested
  bool remembered = false;               // not tested now
  bool software = false;                 // a driver on the CPU, where all variants are alike

  // The first fault in words, and how many more there are.
  std::string summary() const;

  // What products of few rows and of many are best computed with.
  struct Choice {
    std::string few, many;
  };
  // The variants that measured fastest among those that compute right; of a software device the
  // exact one. Empty names: there is no choice.
  Choice fastest() const;
  // The variant of this name, or of those behind it the first that computes right. Error:
  // "variant-name" (the device has none of that name), with those that it has.
  Result<Choice> asked(std::string_view name) const;
};

// "q4_K: …: 3 instead of 4, and 2 more faults" of what failed.
std::string summary(const std::vector<kernels::Finding>& faults);

struct TrustOptions {
  std::string cache_folder;  // where results are remembered; empty: nowhere
  bool again = false;        // whatever is remembered
  // Those that the device is to compute with; others are tested when they are asked for. Formats of
  // floats are part of every test. None: all there are.
  std::vector<gguf::Format> formats = {};
  bool software_variants = false;             // of a software device, too: they gain it nothing
  std::function<void(double)> progress = {};  // of a test, 0 to 1; see kernels::self_test
  // Opens the device once more: see kernels::SelfTestScope.
  std::function<Result<std::unique_ptr<kernels::Backend>>()> another = {};
};

// Of "vulkan:NAME", whose backend is `device`: what is remembered of this driver and this build of
// the kernels, and what is found of formats that were not tested yet. The software reference is
// always trusted. Errors: those of kernels::find_vulkan_device and kernels::self_test. A result
// that cannot be written is found again next time.
Result<DeviceTrust> device_trust(std::string_view name, kernels::Backend& device,
                                 const TrustOptions& options);

}  // namespace quern::engine

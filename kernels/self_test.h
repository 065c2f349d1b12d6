// Self-test: whether a device computes right what Quern asks of it. A driver's compiler can be
// wrong where ours was tested and found right.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/conformance.h"
#include "kernels/kernel_probe.h"

namespace quern::kernels {

// What was found of one variant of products.
struct TestedVariant {
  std::string name;
  std::vector<Finding> findings;  // none of the exact one: they are those of the device
  KernelRates rates;              // of Q4_K; not of one that computes wrong
};

struct SelfTest {
  std::vector<Finding> findings;        // of the device, with exact products
  std::vector<TestedVariant> variants;  // in the order of Backend::variants()
};

// What a test looks at.
struct SelfTestScope {
  bool all_variants = true;           // of products; otherwise only the exact one
  std::vector<gguf::Format> formats;  // whose decoders and products
  bool models = true;                 // the small models, and speeds
};

// The decoders of the formats as check_device() does it, then a small model with each type of
// cache, dense and with experts, against the scalar reference: many rows, then one. Takes seconds
// on a GPU. Then each variant of products: the formats, and the small models with a bound of its
// own; and how fast it is. The exact variant is in use afterwards. `progress` is told what share is
// done, 0 to 1. Errors: "device-lost", "device-memory", "out-of-memory": they say nothing of what
// the device computes. Every other error is a finding.
Result<SelfTest> self_test(Backend& device, const SelfTestScope& scope,
                           const std::function<void(double)>& progress = {});

// All formats that a device decodes with code of their own: those of blocks.
std::vector<gguf::Format> tested_formats();

}  // namespace quern::kernels

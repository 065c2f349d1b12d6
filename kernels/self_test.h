// Self-test: whether a device computes right what Quern asks of it. A driver's compiler can be
// wrong where ours was tested and found right.
#pragma once

#include <functional>
#include <memory>
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
  // Opens the device once more, for any thread: every processor then tests a part, as it is
  // compiling that takes most of the time. None: one thread does it all.
  std::function<Result<std::unique_ptr<Backend>>()> another = {};
};

// A small model with each type of cache, dense and with experts, against the scalar reference: many
// rows, then one; and the decoders of the formats as check_device() does it. Then each variant of
// products: the formats, and the small models with a bound of its own; and how fast it is. The
// exact variant is in use afterwards. `progress` is told what share is done, 0 to 1, from any
// thread, but not from two at once. Errors: "device-lost", "device-memory", "out-of-memory": they
// say nothing of what the device computes. Every other error is a finding.
Result<SelfTest> self_test(Backend& device, const SelfTestScope& scope,
                           const std::function<void(double)>& progress = {});

// All formats that a device decodes with code of their own: those of blocks.
std::vector<gguf::Format> tested_formats();

}  // namespace quern::kernels

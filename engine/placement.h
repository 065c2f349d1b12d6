// Placement: which device computes which part of a model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/result.h"
#include "kernels/op.h"

namespace quern::engine {

// The CPU computes everything that nothing else is said of.
struct Placement {
  static constexpr uint32_t kEverything = UINT32_MAX;
  // How many layers the devices take in the end: `layers`; of these, as many as fit into their
  // memory; or fewer still where that is faster.
  enum class Choice { kAsked, kWhatFits, kFastest };

  // "Operations that use a tensor whose name matches are computed there."
  struct Rule {
    std::string pattern;  // Perl syntax, found anywhere in the name
    std::string device;   // "cpu" or one of `devices`
  };

  // Besides the CPU: "vulkan:0", "vulkan:NAME" (see kernels::find_vulkan_device), or "reference",
  // which computes everything in plain scalar f32, to compare with.
  std::vector<std::string> devices;
  // How many layers the devices take, shared out in their order: the model's last ones. More than
  // it has: also the embedding and the output.
  uint32_t layers = kEverything;
  std::vector<Rule> rules;        // the first that matches counts, whatever `layers` says
  std::string cache_folder = {};  // where devices keep compiled kernels; empty: nowhere
  // How devices compute products: a name of kernels::Backend::variants; empty: what their test
  // found to be fastest.
  std::string variant = {};
  // A device that computes wrong, or fails, is an error; otherwise the CPU does its part.
  bool strict = false;
  Choice choice = Choice::kAsked;  // made by fit_memory; the engine places `layers`
  // Of the layers, in proportion, by device; none: as many each.
  std::vector<double> shares = {};
};

// The N of a tensor's name "blk.N.…".
std::optional<uint32_t> layer_of(std::string_view tensor);

// "PATTERN=DEVICE". Error: "place-rule".
Result<Placement::Rule> parse_rule(std::string_view text);

// The device of each of the program's groups (kernels::op_groups): 0 for the CPU, i + 1 for
// devices[i]. Errors: "place-device" (a rule names a device that is not used), "place-pattern" (one
// that cannot be read, or matches nothing).
Result<std::vector<size_t>> place(const kernels::Program& program, uint32_t layers,
                                  const Placement& placement);

}  // namespace quern::engine

// Variants: the ways in which products of matrices can be computed on a device. All of them are
// rows of shaders/variants.def; a shader source looks which one it is compiled for.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "kernels/vulkan/instance.h"

namespace quern::kernels::vulkan {

struct Variant {
  std::string_view name;
  bool (*runs_on)(const DeviceCaps& caps);
  // Its error is at most `bound` * |w| * max |x| for a row w of weights (|w|² = Σ w²) and a row x
  // of activations, on top of the rounding of f32 sums; where it is not 0, only for weights that
  // half precision holds.
  float bound;

  // "matvec_q4_k" to its own form of that shader: "matvec_q4_k_int8".
  std::string kernel(std::string_view plain) const;
};

// Fastest first, as far as one can tell without a measurement; the last one is exact: it runs on
// every device and has every shader.
std::span<const Variant> variants();
const Variant& exact_variant();

// nullptr: there is none of that name.
const Variant* find_variant(std::string_view name);

}  // namespace quern::kernels::vulkan

#include "kernels/vulkan/variants.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern::kernels::vulkan {
namespace {

// What the rows of variants.def need.
bool always(const DeviceCaps&) { return true; }
bool float16(const DeviceCaps& caps) { return caps.float16; }
bool integer_dot(const DeviceCaps& caps) { return caps.integer_dot; }

// Its shared memory: three tiles in half precision, sums of eight subgroups.
bool matrices(const DeviceCaps& caps) {
  return caps.matrices && caps.float16 && caps.subgroup_size >= 32 && caps.shared_bytes >= 40 << 10;
}

constexpr Variant kVariants[] = {
#define QUERN_VARIANT(name, shaders, needs, values, bound) {#name, needs, bound},
#include "shaders/variants.def"
#undef QUERN_VARIANT
};

}  // namespace

std::string Variant::kernel(std::string_view plain) const {
  return name == exact_variant().name ? std::string(plain) : fmt::format("{}_{}", plain, name);
}

std::span<const Variant> variants() { return kVariants; }

const Variant& exact_variant() { return *std::rbegin(kVariants); }

const Variant* find_variant(std::string_view name) {
  const auto found = std::ranges::find(kVariants, name, &Variant::name);
  return found == std::end(kVariants) ? nullptr : found;
}

}  // namespace quern::kernels::vulkan

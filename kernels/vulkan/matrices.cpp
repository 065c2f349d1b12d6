#include "kernels/vulkan/matrices.h"

#include <algorithm>
#include <vector>

#include "shaders/modules.h"

namespace quern::kernels::vulkan {
namespace {

// What Vulkan's headers of 2023 lack (VK_KHR_cooperative_matrix, Vulkan 1.3.255 and later).
constexpr auto kKhrFeatures = static_cast<VkStructureType>(1000506000);
constexpr auto kKhrProperties = static_cast<VkStructureType>(1000506001);
struct KhrProperties {
  VkStructureType type = kKhrProperties;
  void* next = nullptr;
  uint32_t m = 0, n = 0, k = 0;
  uint32_t a = 0, b = 0, c = 0, result = 0;  // numbers of VkComponentTypeNV
  VkBool32 saturating = VK_FALSE;
  uint32_t scope = 0;  // of VkScopeNV
};
using GetKhrProperties = VkResult(VKAPI_PTR*)(VkPhysicalDevice, uint32_t*, KhrProperties*);

bool is_wanted(const uint32_t (&sizes)[3], const uint32_t (&types)[4], uint32_t scope) {
  const bool half = types[0] == VK_COMPONENT_TYPE_FLOAT16_NV && types[1] == types[0];
  const bool sums = types[2] == VK_COMPONENT_TYPE_FLOAT32_NV && types[3] == types[2];
  return std::ranges::all_of(sizes, [](uint32_t size) { return size == 16; }) && half && sums &&
         scope == VK_SCOPE_SUBGROUP_NV;
}

bool khr_multiplies(VkPhysicalDevice device) {
  const auto get = reinterpret_cast<GetKhrProperties>(vkGetInstanceProcAddr(
      volkGetLoadedInstance(), "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
  uint32_t count = 0;
  if (!get || get(device, &count, nullptr) != VK_SUCCESS) return false;
  std::vector<KhrProperties> all(count);
  if (get(device, &count, all.data()) < VK_SUCCESS) return false;
  return std::ranges::any_of(all, [](const KhrProperties& p) {
    return is_wanted({p.m, p.n, p.k}, {p.a, p.b, p.c, p.result}, p.scope) && !p.saturating;
  });
}

bool nv_multiplies(VkPhysicalDevice device) {
  const auto get = vkGetPhysicalDeviceCooperativeMatrixPropertiesNV;
  uint32_t count = 0;
  if (!get || get(device, &count, nullptr) != VK_SUCCESS) return false;
  VkCooperativeMatrixPropertiesNV empty = {};
  empty.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_NV;
  std::vector<VkCooperativeMatrixPropertiesNV> all(count, empty);
  if (get(device, &count, all.data()) < VK_SUCCESS) return false;
  return std::ranges::any_of(all, [](const VkCooperativeMatrixPropertiesNV& p) {
    const uint32_t types[] = {static_cast<uint32_t>(p.AType), static_cast<uint32_t>(p.BType),
                              static_cast<uint32_t>(p.CType), static_cast<uint32_t>(p.DType)};
    return is_wanted({p.MSize, p.NSize, p.KSize}, types, static_cast<uint32_t>(p.scope));
  });
}

}  // namespace

const char* const kMatrixExtension =
    shaders::kKhrMatrices ? "VK_KHR_cooperative_matrix" : VK_NV_COOPERATIVE_MATRIX_EXTENSION_NAME;

// Both extensions' features have the same members.
VkPhysicalDeviceCooperativeMatrixFeaturesNV matrix_features() {
  VkPhysicalDeviceCooperativeMatrixFeaturesNV features = {};
  features.sType = shaders::kKhrMatrices
                       ? kKhrFeatures
                       : VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_NV;
  return features;
}

bool multiplies_half_matrices(VkPhysicalDevice device) {
  return shaders::kKhrMatrices ? khr_multiplies(device) : nv_multiplies(device);
}

}  // namespace quern::kernels::vulkan

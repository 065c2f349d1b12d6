// The features that Quern's shaders need, asked of a device and switched on in one structure.
#pragma once

#include "kernels/vulkan/instance.h"
#include "kernels/vulkan/matrices.h"

namespace quern::kernels::vulkan {

DeviceCaps read_caps(VkPhysicalDevice device);

// The chain of structures for VkDeviceCreateInfo::pNext; lives as long as the object.
class FeatureChain {
 public:
  FeatureChain();
  FeatureChain(const FeatureChain&) = delete;
  FeatureChain& operator=(const FeatureChain&) = delete;

  // All that the device has.
  void query(VkPhysicalDevice device);
  // What Quern uses of a device with `caps`.
  void enable(const DeviceCaps& caps);
  const VkPhysicalDeviceFeatures2* head() const { return &core_; }
  // The extensions that enable() relies on.
  static std::vector<const char*> extensions(const DeviceCaps& caps);

  // The first needed feature that a queried device lacks; empty: none.
  std::string missing() const;
  bool float16() const { return v12_.shaderFloat16; }
  bool integer_dot() const { return integer_dot_.shaderIntegerDotProduct; }
  bool subgroup_size() const { return subgroup_size_.subgroupSizeControl; }
  bool matrices() const { return matrices_.cooperativeMatrix && v12_.vulkanMemoryModel; }

 private:
  VkPhysicalDeviceFeatures2 core_ = {};
  VkPhysicalDeviceVulkan11Features v11_ = {};
  VkPhysicalDeviceVulkan12Features v12_ = {};
  // Of extensions.
  VkPhysicalDeviceShaderIntegerDotProductFeatures integer_dot_ = {};
  VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size_ = {};
  VkPhysicalDeviceCooperativeMatrixFeaturesNV matrices_ = matrix_features();
};

}  // namespace quern::kernels::vulkan

// Matrix units of a device (VK_KHR_cooperative_matrix, VK_NV_cooperative_matrix): whether they
// multiply what the shaders of the variant coopmat multiply, and how they are switched on.
#pragma once

#include "kernels/vulkan/api.h"

namespace quern::kernels::vulkan {

// The extension that the shaders were compiled for: KHR's where the build's compiler knows it, else
// NVIDIA's.
extern const char* const kMatrixExtension;

// The extension's feature, for VkPhysicalDeviceFeatures2::pNext.
VkPhysicalDeviceCooperativeMatrixFeaturesNV matrix_features();

// Whether subgroups of a device with the extension multiply 16 x 16 matrices of half precision and
// add to f32.
bool multiplies_half_matrices(VkPhysicalDevice device);

}  // namespace quern::kernels::vulkan

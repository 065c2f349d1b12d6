// What the tests of shaders share: random inputs, and one dispatch with its constants.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <string_view>
#include <vector>

#include "kernels/vulkan/device.h"
#include "tests/kernels/vulkan/test_device.h"

namespace quern::test {

using Floats = std::vector<float>;

inline Floats normal(size_t count, std::mt19937& random, float deviation = 1) {
  std::normal_distribution<float> distribution(0, deviation);
  Floats values(count);
  for (float& value : values) value = distribution(random);
  return values;
}

// Runs one kernel and waits; `constants` are its specialization constants from 0, of which 1, the
// subgroup size, is filled in here.
template <typename Push>
void dispatch(std::string_view kernel, std::vector<uint32_t> constants, const Push& push,
              kernels::vulkan::Groups groups) {
  constants[1] = vulkan_device().caps().subgroup_size;
  const auto found = vulkan_device().kernel(kernel, constants);
  ASSERT_TRUE(found) << found.error().to_string();
  const Status status = vulkan_device().dispatch_and_wait(**found, push, groups);
  ASSERT_TRUE(status) << status.error().to_string();
}

}  // namespace quern::test

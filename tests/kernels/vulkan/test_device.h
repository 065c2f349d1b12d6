// The device that all Vulkan tests of a program share: the first one that Quern can use, on CI the
// software driver, with the validation layer where it is installed.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/vulkan/device.h"

namespace quern::test {

std::shared_ptr<kernels::vulkan::Instance> vulkan_instance();

// Made at its first use; its pipelines are cached in the build folder between runs.
kernels::vulkan::Device& vulkan_device();

// A backend over that device, also made once.
kernels::Backend& vulkan_backend();

// A new backend for an engine, with exact products. "vulkan:0" is over that device, too: a device
// of its own would compile all its pipelines again, which takes most of a small model's time.
Result<std::unique_ptr<kernels::Backend>> open_shared_device(const std::string& name);

// A device buffer that holds `values`.
template <typename T>
kernels::vulkan::Buffer vulkan_buffer(const std::vector<T>& values) {
  auto buffer = kernels::vulkan::Buffer::make(vulkan_device(), values.size() * sizeof(T),
                                              kernels::vulkan::Memory::kDevice);
  EXPECT_TRUE(buffer) << buffer.error().to_string();
  EXPECT_TRUE(buffer->upload(0, std::as_bytes(std::span(values))));
  return std::move(*buffer);
}

template <typename T>
std::vector<T> vulkan_values(const kernels::vulkan::Buffer& buffer, size_t count) {
  std::vector<T> values(count);
  EXPECT_TRUE(buffer.download(0, std::as_writable_bytes(std::span(values))));
  return values;
}

}  // namespace quern::test

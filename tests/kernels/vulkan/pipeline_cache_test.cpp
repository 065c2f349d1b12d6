// The pipeline cache file: what was written comes back, and nothing else reaches the driver.
#include "kernels/vulkan/pipeline_cache.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "tests/kernels/vulkan/test_device.h"
#include "tests/temporary_folder.h"

namespace quern::kernels::vulkan {
namespace {

class PipelineCacheTest : public ::testing::Test {
 protected:
  // The driver's header, and some bytes.
  std::vector<std::byte> data() const {
    VkPipelineCacheHeaderVersionOne header = {
        sizeof header, VK_PIPELINE_CACHE_HEADER_VERSION_ONE, caps.vendor, caps.device, {}};
    std::memcpy(header.pipelineCacheUUID, caps.pipeline_cache_uuid, VK_UUID_SIZE);
    std::vector<std::byte> bytes(sizeof header + 100, std::byte{7});
    std::memcpy(bytes.data(), &header, sizeof header);
    return bytes;
  }

  void change_byte(size_t at) const {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char changed = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(changed);
  }

  test::TemporaryFolder folder;
  DeviceCaps caps = test::vulkan_device().caps();
  std::string path = pipeline_cache_path(folder.file("new"), caps);
};

TEST_F(PipelineCacheTest, readsWhatWasWritten) {
  EXPECT_TRUE(read_pipeline_cache(path, caps).empty());
  ASSERT_TRUE(write_pipeline_cache(path, data()));
  EXPECT_EQ(read_pipeline_cache(path, caps), data());
}

TEST_F(PipelineCacheTest, ignoresAFileWithAnyByteChangedOrCut) {
  const size_t size = data().size() + 16;
  for (size_t at = 0; at < size; ++at) {
    ASSERT_TRUE(write_pipeline_cache(path, data()));
    change_byte(at);
    EXPECT_TRUE(read_pipeline_cache(path, caps).empty()) << at;
  }
  for (const size_t length : {0, 15, 16, 47, 100}) {
    ASSERT_TRUE(write_pipeline_cache(path, data()));
    std::filesystem::resize_file(path, length);
    EXPECT_TRUE(read_pipeline_cache(path, caps).empty()) << length;
  }
}

TEST_F(PipelineCacheTest, ignoresTheFileOfAnotherDriver) {
  ASSERT_TRUE(write_pipeline_cache(path, data()));
  DeviceCaps other = caps;
  other.pipeline_cache_uuid[3] ^= 1;
  EXPECT_NE(pipeline_cache_path(folder.file(""), other),
            pipeline_cache_path(folder.file(""), caps));
  EXPECT_TRUE(read_pipeline_cache(path, other).empty());
}

TEST_F(PipelineCacheTest, aDeviceKeepsItsPipelinesWhenItEnds) {
  const std::string cache_folder = folder.file("kept");
  {
    auto device = Device::create(test::vulkan_instance(), 0, {.cache_folder = cache_folder});
    ASSERT_TRUE(device);
    ASSERT_TRUE((*device)->kernel("select_rows"));
  }
  EXPECT_FALSE(read_pipeline_cache(pipeline_cache_path(cache_folder, caps), caps).empty());
}

}  // namespace
}  // namespace quern::kernels::vulkan

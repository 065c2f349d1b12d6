#include "kernels/vulkan/pipeline_cache.h"

#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "gguf/os_file.h"

namespace quern::kernels::vulkan {
namespace {

struct FileHeader {
  char magic[8];
  uint64_t hash;
};
constexpr char kMagic[8] = {'Q', 'U', 'E', 'R', 'N', 'P', 'C', '1'};

uint64_t fnv1a(std::span<const std::byte> bytes) {
  uint64_t hash = 14695981039346656037u;
  for (const std::byte byte : bytes) hash = (hash ^ static_cast<uint8_t>(byte)) * 1099511628211u;
  return hash;
}

bool belongs_to(std::span<const std::byte> data, const DeviceCaps& caps) {
  VkPipelineCacheHeaderVersionOne header;
  if (data.size() < sizeof header) return false;
  std::memcpy(&header, data.data(), sizeof header);
  return header.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
         header.vendorID == caps.vendor && header.deviceID == caps.device &&
         std::memcmp(header.pipelineCacheUUID, caps.pipeline_cache_uuid, VK_UUID_SIZE) == 0;
}

}  // namespace

std::string pipeline_cache_path(const std::string& folder, const DeviceCaps& caps) {
  const uint64_t driver = fnv1a(std::as_bytes(std::span(caps.pipeline_cache_uuid)));
  return folder + fmt::format("/pipelines-{}-{:016x}.bin", caps.uuid, driver);
}

std::vector<std::byte> read_pipeline_cache(const std::string& path, const DeviceCaps& caps) {
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  FileHeader header;
  if (text.size() < sizeof header) return {};
  std::memcpy(&header, text.data(), sizeof header);
  const auto data = std::as_bytes(std::span(text)).subspan(sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.hash != fnv1a(data) ||
      !belongs_to(data, caps)) {
    return {};
  }
  return {data.begin(), data.end()};
}

Status write_pipeline_cache(const std::string& path, std::span<const std::byte> data) {
  std::error_code ignored;  // create() says what is wrong with the folder
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  FileHeader header;
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.hash = fnv1a(data);
  QUERN_TRY(gguf::ReplacedFile file, gguf::ReplacedFile::create(path));
  QUERN_CHECK(file.write(std::as_bytes(std::span(&header, 1))));
  QUERN_CHECK(file.write(data));
  return file.commit();
}

}  // namespace quern::kernels::vulkan

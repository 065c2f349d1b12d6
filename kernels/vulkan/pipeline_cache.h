// The driver's compiled pipelines, kept in a file per device and driver.
//
// The file: 8 bytes "QUERNPC1", 8 bytes FNV-1a hash of what follows, then the driver's own data,
// which starts with a header that names the device and driver (Vulkan 1.2, 10.7). A file that does
// not match in every one of these is not shown to the driver.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "kernels/vulkan/instance.h"

namespace quern::kernels::vulkan {

// Where the cache of a device lies in `folder`.
std::string pipeline_cache_path(const std::string& folder, const DeviceCaps& caps);

// The driver's data; empty if there is no file or it is not this device's.
std::vector<std::byte> read_pipeline_cache(const std::string& path, const DeviceCaps& caps);

// Makes the folder if it is missing. Errors: "write".
Status write_pipeline_cache(const std::string& path, std::span<const std::byte> data);

}  // namespace quern::kernels::vulkan

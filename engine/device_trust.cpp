#include "engine/device_trust.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/device_profile.h"
#include "engine/devices.h"
#include "gguf/os_file.h"
#include "kernels/kernel_probe.h"
#include "kernels/self_test.h"
#include "kernels/vulkan.h"

namespace quern::engine {
namespace {

using Json = nlohmann::ordered_json;

// One file per device: {"driver": …, "kernels": …, "checks": N, "faults": [[check, problem], …]}.
std::optional<DeviceTrust> recall(const std::string& path, const kernels::VulkanDevice& device) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return {};
  const Json json = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("driver", Json()) != device.driver ||
      json.value("kernels", Json()) != kernels::kernels_digest()) {
    return {};
  }
  DeviceTrust trust;
  trust.remembered = true;
  const Json checks = json.value("checks", Json()), faults = json.value("faults", Json());
  if (!checks.is_number_unsigned() || !faults.is_array()) return {};
  trust.checks = checks.get<size_t>();
  for (const Json& fault : faults) {
    if (!fault.is_array() || fault.size() != 2 || !fault[0].is_string() || !fault[1].is_string()) {
      return {};
    }
    trust.faults.push_back({fault[0].get<std::string>(), fault[1].get<std::string>()});
  }
  return trust;
}

Status remember(const std::string& path, const kernels::VulkanDevice& device,
                const DeviceTrust& trust) {
  Json faults = Json::array();
  for (const kernels::Finding& fault : trust.faults) faults.push_back({fault.check, fault.problem});
  const Json json = {{"driver", device.driver},
                     {"kernels", kernels::kernels_digest()},
                     {"checks", trust.checks},
                     {"faults", std::move(faults)}};
  const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  QUERN_TRY(gguf::ReplacedFile file, gguf::ReplacedFile::create(path));
  QUERN_CHECK(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

}  // namespace

std::string DeviceTrust::summary() const {
  if (faults.empty()) return {};
  const kernels::Finding& first = faults.front();
  const std::string more =
      faults.size() > 1 ? fmt::format(", and {} more faults", faults.size() - 1) : "";
  return fmt::format("{}: {}{}", first.check, first.problem, more);
}

Result<DeviceTrust> device_trust(std::string_view name, kernels::Backend& device,
                                 const TrustOptions& options) {
  if (name == kReferenceDevice) return DeviceTrust{};
  QUERN_TRY(const kernels::VulkanDevice gpu, find_gpu(name));
  const std::string path = options.cache_folder.empty()
                               ? ""
                               : fmt::format("{}/device-{}.json", options.cache_folder, gpu.uuid);
  if (!path.empty() && !options.again) {
    if (auto known = recall(path, gpu)) return *std::move(known);
  }
  DeviceTrust trust;
  for (kernels::Finding& finding : kernels::self_test(device, options.progress)) {
    ++trust.checks;
    if (finding.failed()) trust.faults.push_back(std::move(finding));
  }
  if (!path.empty()) static_cast<void>(remember(path, gpu, trust));
  return trust;
}

}  // namespace quern::engine

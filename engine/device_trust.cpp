#include "engine/device_trust.h"

#include <fmt/format.h>

#include <algorithm>
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

// One file per device: {"driver": …, "kernels": …, "checks": N, "faults": [[check, problem], …],
// "variants": [{"name": …, "faults": …, "decode_bytes": …, "prefill_operations": …}, …]}.

std::optional<std::vector<kernels::Finding>> read_faults(const Json& json) {
  if (!json.is_array()) return {};
  std::vector<kernels::Finding> faults;
  for (const Json& fault : json) {
    if (!fault.is_array() || fault.size() != 2 || !fault[0].is_string() || !fault[1].is_string()) {
      return {};
    }
    faults.push_back({fault[0].get<std::string>(), fault[1].get<std::string>()});
  }
  return faults;
}

Json faults_json(const std::vector<kernels::Finding>& faults) {
  Json json = Json::array();
  for (const kernels::Finding& fault : faults) json.push_back({fault.check, fault.problem});
  return json;
}

double rate(const Json& json, const char* name) {
  const Json value = json.value(name, Json());
  return value.is_number() ? std::max(0.0, value.get<double>()) : 0;
}

std::optional<std::vector<VariantTrust>> read_variants(const Json& json) {
  if (!json.is_array()) return {};
  std::vector<VariantTrust> variants;
  for (const Json& variant : json) {
    if (!variant.is_object() || !variant.value("name", Json()).is_string()) return {};
    auto faults = read_faults(variant.value("faults", Json()));
    if (!faults) return {};
    variants.push_back({variant["name"].get<std::string>(),
                        std::move(*faults),
                        {rate(variant, "decode_bytes"), rate(variant, "prefill_operations")}});
  }
  return variants;
}

Json variants_json(const std::vector<VariantTrust>& variants) {
  Json json = Json::array();
  for (const VariantTrust& variant : variants) {
    json.push_back({{"name", variant.name},
                    {"faults", faults_json(variant.faults)},
                    {"decode_bytes", variant.rates.decode_bytes},
                    {"prefill_operations", variant.rates.prefill_operations}});
  }
  return json;
}

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
  const Json checks = json.value("checks", Json());
  auto faults = read_faults(json.value("faults", Json()));
  auto variants = read_variants(json.value("variants", Json()));
  if (!checks.is_number_unsigned() || !faults || !variants) return {};
  trust.checks = checks.get<size_t>();
  trust.faults = std::move(*faults);
  trust.variants = std::move(*variants);
  return trust;
}

Status remember(const std::string& path, const kernels::VulkanDevice& device,
                const DeviceTrust& trust) {
  const Json json = {{"driver", device.driver},
                     {"kernels", kernels::kernels_digest()},
                     {"checks", trust.checks},
                     {"faults", faults_json(trust.faults)},
                     {"variants", variants_json(trust.variants)}};
  const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  QUERN_TRY(gguf::ReplacedFile file, gguf::ReplacedFile::create(path));
  QUERN_CHECK(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

// The failed ones, counted with the others in `checks`.
std::vector<kernels::Finding> take_faults(std::vector<kernels::Finding> findings, size_t& checks) {
  checks += findings.size();
  std::erase_if(findings, [](const kernels::Finding& finding) { return !finding.failed(); });
  return findings;
}

}  // namespace

std::string summary(const std::vector<kernels::Finding>& faults) {
  if (faults.empty()) return {};
  const kernels::Finding& first = faults.front();
  const std::string more =
      faults.size() > 1 ? fmt::format(", and {} more faults", faults.size() - 1) : "";
  return fmt::format("{}: {}{}", first.check, first.problem, more);
}

std::string DeviceTrust::summary() const { return engine::summary(faults); }

DeviceTrust::Choice DeviceTrust::fastest() const {
  if (variants.empty()) return {};
  const VariantTrust *few = &variants.back(), *many = few;
  for (const VariantTrust& variant : variants) {
    if (software || !variant.faults.empty()) continue;
    constexpr double kClearly = 1.05;  // beyond what measurements of equal speeds differ by
    if (variant.rates.decode_bytes > kClearly * few->rates.decode_bytes) few = &variant;
    if (variant.rates.prefill_operations > kClearly * many->rates.prefill_operations) {
      many = &variant;
    }
  }
  return {few->name, many->name};
}

Result<DeviceTrust::Choice> DeviceTrust::asked(std::string_view name) const {
  auto variant = std::ranges::find(variants, name, &VariantTrust::name);
  if (variant == variants.end()) {
    std::string names;
    for (const VariantTrust& known : variants) names += (names.empty() ? "" : ", ") + known.name;
    return bad_input("variant-name", fmt::format("it cannot compute products with {}; it can with: "
                                                 "{}",
                                                 escape(name), names.empty() ? "none" : names));
  }
  while (!variant->faults.empty() && variant + 1 != variants.end()) ++variant;
  return Choice{variant->name, variant->name};
}

Result<DeviceTrust> device_trust(std::string_view name, kernels::Backend& device,
                                 const TrustOptions& options) {
  if (name == kReferenceDevice) return DeviceTrust{};
  QUERN_TRY(const kernels::VulkanDevice gpu, find_gpu(name));
  const std::string path = options.cache_folder.empty()
                               ? ""
                               : fmt::format("{}/device-{}.json", options.cache_folder, gpu.uuid);
  const bool software = gpu.kind == "software";
  const bool all_variants = !software || options.software_variants;
  if (!path.empty() && !options.again) {
    auto known = recall(path, gpu);
    if (known && (!all_variants || known->variants.size() == device.variants().size())) {
      known->software = software;
      return *std::move(known);
    }
  }
  DeviceTrust trust;
  trust.software = software;
  kernels::SelfTest test = kernels::self_test(device, all_variants, options.progress);
  trust.faults = take_faults(std::move(test.findings), trust.checks);
  for (kernels::TestedVariant& variant : test.variants) {
    trust.variants.push_back({std::move(variant.name),
                              take_faults(std::move(variant.findings), trust.checks),
                              variant.rates});
  }
  if (!path.empty()) static_cast<void>(remember(path, gpu, trust));
  return trust;
}

}  // namespace quern::engine

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

// One file per device: {"driver": …, "kernels": …, "formats": ["q4_K", …], "checks": N,
// "faults": [[check, problem], …],
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

std::optional<std::vector<gguf::Format>> read_formats(const Json& json) {
  if (!json.is_array()) return {};
  std::vector<gguf::Format> formats;
  for (const Json& name : json) {
    if (!name.is_string()) return {};
    const auto known =
        std::ranges::find(gguf::kFormats, name.get<std::string>(), &gguf::FormatInfo::name);
    if (known == std::end(gguf::kFormats)) return {};
    formats.push_back(known->format);
  }
  return formats;
}

Json formats_json(const std::vector<gguf::Format>& formats) {
  Json json = Json::array();
  for (const gguf::Format format : formats) json.push_back(std::string(gguf::info(format).name));
  return json;
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
  auto formats = read_formats(json.value("formats", Json()));
  if (!checks.is_number_unsigned() || !faults || !variants || !formats) return {};
  trust.formats = std::move(*formats);
  trust.checks = checks.get<size_t>();
  trust.faults = std::move(*faults);
  trust.variants = std::move(*variants);
  return trust;
}

Status remember(const std::string& path, const kernels::VulkanDevice& device,
                const DeviceTrust& trust) {
  const Json json = {{"driver", device.driver},
                     {"kernels", kernels::kernels_digest()},
                     {"formats", formats_json(trust.formats)},
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

// What is to be tested now, after what is remembered.
kernels::SelfTestScope untested(const DeviceTrust& known, const std::vector<gguf::Format>& wanted,
                                bool all_variants) {
  kernels::SelfTestScope scope{.all_variants = all_variants || known.variants.size() > 1,
                               .formats = {}};
  scope.models = !known.remembered;
  for (const gguf::Format format : kernels::tested_formats()) {
    const bool asked = wanted.empty() || std::ranges::count(wanted, format) > 0;
    if (asked && std::ranges::count(known.formats, format) == 0) scope.formats.push_back(format);
  }
  return scope;
}

// Adds what a test found.
void merge(DeviceTrust& trust, const kernels::SelfTestScope& scope, kernels::SelfTest test) {
  const auto add = [&](std::vector<kernels::Finding>& to, std::vector<kernels::Finding> findings) {
    for (kernels::Finding& fault : take_faults(std::move(findings), trust.checks)) {
      to.push_back(std::move(fault));
    }
  };
  trust.formats.insert(trust.formats.end(), scope.formats.begin(), scope.formats.end());
  add(trust.faults, std::move(test.findings));
  if (scope.models) {
    for (const kernels::TestedVariant& variant : test.variants) {
      trust.variants.push_back({variant.name, {}, variant.rates});
    }
  }
  for (size_t i = 0; i < test.variants.size(); ++i) {
    add(trust.variants[i].faults, std::move(test.variants[i].findings));
  }
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
  DeviceTrust trust;
  const bool software = gpu.kind == "software";
  const bool all_variants = !software || options.software_variants;
  if (!path.empty() && !options.again) {
    auto known = recall(path, gpu);
    const size_t all = device.variants().size(), exact = std::min<size_t>(all, 1);
    const size_t tested = known ? known->variants.size() : 0;
    if (known && (tested == all || (!all_variants && tested == exact))) trust = *std::move(known);
  }
  trust.software = software;
  kernels::SelfTestScope scope = untested(trust, options.formats, all_variants);
  if (trust.remembered && scope.formats.empty()) return trust;
  scope.another = options.another;
  QUERN_TRY(kernels::SelfTest test, kernels::self_test(device, scope, options.progress));
  merge(trust, scope, std::move(test));
  trust.remembered = false;
  if (!path.empty()) static_cast<void>(remember(path, gpu, trust));
  return trust;
}

}  // namespace quern::engine

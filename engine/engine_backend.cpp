#include "engine/engine_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "engine/device_trust.h"
#include "engine/devices.h"
#include "engine/memory_plan.h"
#include "kernels/system_memory.h"

namespace quern::engine {
namespace {

// Chooses how a device that computes right computes products; what it cannot is said in warnings.
Status choose_variants(const Placement& placement, const std::string& name,
                       const DeviceTrust& trust, kernels::Backend& device,
                       std::vector<std::string>& warnings) {
  DeviceTrust::Choice choice = trust.fastest();
  if (!placement.variant.empty()) {
    QUERN_TRY(choice, trust.asked(placement.variant));
  }
  for (const VariantTrust& variant : trust.variants) {
    const bool wanted =
        placement.variant.empty() ? !trust.software : placement.variant == variant.name;
    if (variant.faults.empty() || !wanted) continue;
    const std::string text = fmt::format("{} computes products with {} wrong here ({})",
                                         escape(name), variant.name, summary(variant.faults));
    if (placement.strict) return fail(ErrorKind::kFailure, "device-wrong", text);
    warnings.push_back(
        fmt::format("{}: it computes them with {}", text,
                    choice.few == choice.many ? choice.few : choice.few + " and " + choice.many));
  }
  if (!choice.few.empty()) device.use_variants(choice.few, choice.many);
  return {};
}

// Of devices that are not tested. Error: "variant-name".
Status use_variant(std::string_view name, kernels::Backend& device) {
  DeviceTrust untested;
  for (const kernels::ProductVariant& variant : device.variants()) {
    untested.variants.push_back({std::string(variant.name), {}, {}});
  }
  QUERN_TRY(const DeviceTrust::Choice choice, untested.asked(name));
  device.use_variants(choice.few, choice.many);
  return {};
}

std::vector<gguf::Format> formats_of(const Model& model) {
  std::set<gguf::Format> formats;
  for (const kernels::WeightInfo& weight : model.program.weights) formats.insert(weight.format);
  return {formats.begin(), formats.end()};
}

// Tests devices at their first use. The CPU does the part of those that compute wrong; that and
// what else they cannot do is said in warnings.
Status test_devices(const Model& model, const EngineOptions& options,
                    std::span<const std::unique_ptr<kernels::Backend>> devices,
                    std::vector<size_t>& device_of, std::vector<std::string>& warnings) {
  const Placement& placement = options.placement;
  for (size_t i = 1; i < devices.size(); ++i) {
    const std::string& name = placement.devices[i - 1];
    // Without a place to remember the result a test would cost seconds every time.
    if (placement.cache_folder.empty()) {
      if (!placement.variant.empty()) QUERN_CHECK(use_variant(placement.variant, *devices[i]));
      continue;
    }
    TrustOptions how{.cache_folder = placement.cache_folder,
                     .formats = formats_of(model),
                     .software_variants = !placement.variant.empty()};
    if (!options.open_device) {
      how.another = [&] { return make_device(name, placement.cache_folder); };
    }
    if (options.testing) how.progress = [&](double part) { options.testing(name, part); };
    QUERN_TRY(const DeviceTrust trust, device_trust(name, *devices[i], how));
    if (trust.faults.empty()) {
      QUERN_CHECK(choose_variants(placement, name, trust, *devices[i], warnings));
      continue;
    }
    const std::string text =
        fmt::format("{} computes wrong here ({})", escape(name), trust.summary());
    if (placement.strict) return fail(ErrorKind::kFailure, "device-wrong", text);
    std::ranges::replace(device_of, i, size_t{0});
    warnings.push_back(text + ": the CPU does its part");
  }
  return {};
}

Result<std::vector<DeviceProfile>> describe(const std::vector<std::string>& names) {
  std::vector<DeviceProfile> profiles;
  for (const std::string& name : names) {
    QUERN_TRY(DeviceProfile profile, describe_device(name));
    profiles.push_back(std::move(profile));
  }
  return profiles;
}

// Not so once they have failed (without_devices).
bool uses_devices(const Placement& placement) {
  return !placement.devices.empty() && (placement.layers > 0 || !placement.rules.empty());
}

// Packed weights are faster, but the system ends a process that takes what is not there.
Status keep_mapped_if_short(const gguf::File& file, const Model& model, EngineOptions& options) {
  const auto memory = kernels::system_memory();
  if (!memory) return {};
  QUERN_TRY(const MemoryPlan plan, plan_memory(file, model, options));
  if (plan.host_peak() > memory->available) options.weights = kernels::WeightHome::kMapped;
  return {};
}

}  // namespace

Result<std::unique_ptr<kernels::Backend>> make_backend(const Model& model,
                                                       const EngineOptions& options,
                                                       std::vector<std::string>& warnings) {
  if (uses_devices(options.placement)) QUERN_CHECK(check_devices(options.placement));
  std::unique_ptr<kernels::Backend> cpu = kernels::make_cpu_backend(options.threads);
  QUERN_TRY(std::vector<size_t> device_of,
            place(model.program, model.config.layers, options.placement));
  if (std::ranges::all_of(device_of, [](size_t device) { return device == 0; })) return cpu;
  std::vector<std::unique_ptr<kernels::Backend>> devices;
  devices.push_back(std::move(cpu));
  for (const std::string& name : options.placement.devices) {
    QUERN_TRY(std::unique_ptr<kernels::Backend> device,
              options.open_device ? options.open_device(name)
                                  : make_device(name, options.placement.cache_folder));
    devices.push_back(std::move(device));
  }
  QUERN_CHECK(test_devices(model, options, devices, device_of, warnings));
  return kernels::make_split_backend(std::move(devices), std::move(device_of));
}

bool can_go_on(const Error& error, const Placement& placement) {
  return uses_devices(placement) && !placement.strict && is_of_device(error);
}

Result<EngineOptions> without_devices(const gguf::File& file, const Model& model,
                                      EngineOptions options) {
  options.placement.layers = 0;
  options.placement.rules.clear();
  QUERN_CHECK(keep_mapped_if_short(file, model, options));
  return options;
}

Result<EngineOptions> with_fewer_layers(const gguf::File& file, const Model& model,
                                        EngineOptions options) {
  QUERN_TRY(const auto profiles, describe(options.placement.devices));
  Budgets budgets;
  for (const DeviceProfile& profile : profiles) {
    budgets.devices.push_back(profile.memory > 0 ? profile.free : Budgets::kAnything);
  }
  uint32_t& layers = options.placement.layers;
  const auto fits = [&]() -> Result<bool> {
    QUERN_TRY(const MemoryPlan plan,
              plan_memory(file, model, options, gguf::OpenOptions::Access::kMap, profiles));
    return plan.fits(budgets);
  };
  layers = std::min(layers, model.config.layers + 1);
  QUERN_TRY(bool fit, fits());
  if (fit) layers = layers * 3 / 4;
  while (layers > 0) {
    if (!fit) --layers;
    QUERN_TRY(fit, fits());
    if (fit) break;
  }
  if (layers == 0) return without_devices(file, model, std::move(options));
  QUERN_CHECK(keep_mapped_if_short(file, model, options));
  return options;
}

}  // namespace quern::engine

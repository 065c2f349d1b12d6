// `quern doctor`: what this machine is, which kernels run on it and how fast, and whether its GPUs
// compute right.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "bench/os_system.h"
#include "engine/device_trust.h"
#include "engine/devices.h"
#include "kernels/cpu/matmul.h"
#include "kernels/system_memory.h"
#include "kernels/vulkan.h"
#include "tools/commands.h"
#include "tools/machine_file.h"
#include "tools/output.h"
#include "tools/sizes.h"
#include "tools/terminal.h"

namespace quern::tools {
namespace {

using Json = nlohmann::ordered_json;

struct DoctorOptions {
  std::vector<std::string> devices;
  bool again = false, strict = false, json = false;
};

// The formats that people run most.
const std::set<gguf::Format>& usual_formats() {
  using enum gguf::Format;
  static const std::set<gguf::Format> formats = {Q2_K, Q3_K, Q4_K,   Q5_K,   Q6_K,
                                                 Q4_0, Q8_0, IQ4_NL, IQ4_XS, MXFP4};
  return formats;
}

// What was found about one GPU.
struct Examined {
  std::string name;  // "vulkan:0"
  kernels::VulkanDevice gpu;
  engine::DeviceTrust trust;
  std::string error;  // why it could not be tested
};

Examined examine(size_t index, const kernels::VulkanDevice& gpu, bool again) {
  Examined found{.name = fmt::format("vulkan:{}", index), .gpu = gpu, .trust = {}, .error = {}};
  if (found.error = gpu.unusable; !found.error.empty()) return found;
  auto device = engine::make_device(found.name, cache_folder());
  if (!device) {
    found.error = device.error().to_string();
    return found;
  }
  Progress progress(fmt::format("testing {}", printable(gpu.name)));
  const auto another = [&] { return engine::make_device(found.name, cache_folder()); };
  auto trust = engine::device_trust(found.name, **device,
                                    {.cache_folder = cache_folder(),
                                     .again = again,
                                     .progress = [&](double share) { progress.update(share); },
                                     .another = another});
  if (trust) {
    found.trust = *std::move(trust);
  } else {
    found.error = trust.error().to_string();
  }
  return found;
}

Result<std::vector<Examined>> examine_devices(const DoctorOptions& options) {
  const auto gpus = kernels::list_vulkan_devices();
  std::vector<Examined> found;
  if (!gpus && options.devices.empty()) return found;
  if (!gpus) return tl::unexpected(gpus.error());
  std::vector<size_t> wanted;
  for (const std::string& name : options.devices) {
    QUERN_TRY(const kernels::VulkanDevice gpu, engine::find_gpu(name));
    const auto at = std::ranges::find(*gpus, gpu.uuid, &kernels::VulkanDevice::uuid);
    wanted.push_back(static_cast<size_t>(at - gpus->begin()));
  }
  for (size_t i = 0; i < gpus->size(); ++i) {
    if (!wanted.empty() && !std::ranges::count(wanted, i)) continue;
    found.push_back(examine(i, (*gpus)[i], options.again));
  }
  return found;
}

// "32 rows by 8 tokens": how the CPU's products are cut, a table by instruction set that measured
// best (docs/performance.md).
std::string tile_text() {
  return fmt::format("{} rows of weights by {} tokens", kernels::cpu::kRowTile,
                     kernels::cpu::kTokenBlock);
}

Json machine_json(const Machine& machine) {
  const kernels::MachineProfile& peaks = machine.speeds.peaks;
  Json formats = Json::object();
  for (const auto& [format, rates] : machine.speeds.cpu.formats) {
    formats[std::string(gguf::info(format).name)] = {
        {"decode_bytes", rates.decode_bytes}, {"prefill_operations", rates.prefill_operations}};
  }
  return {{"machine", bench::describe_machine()},
          {"threads", peaks.threads},
          {"instruction_set", kernels::cpu::instruction_set()},
          {"tile", tile_text()},
          {"read_bandwidth_one", peaks.read_bandwidth_one},
          {"read_bandwidth_all", peaks.read_bandwidth_all},
          {"int8_peak", peaks.int8_peak},
          {"fp32_peak", peaks.fp32_peak},
          {"formats", std::move(formats)}};
}

Json faults_json(const std::vector<kernels::Finding>& faults) {
  Json json = Json::array();
  for (const kernels::Finding& fault : faults) {
    json.push_back({{"check", fault.check}, {"problem", fault.problem}});
  }
  return json;
}

Json variants_json(const engine::DeviceTrust& trust) {
  const engine::DeviceTrust::Choice chosen = trust.fastest();
  Json json = Json::array();
  for (const engine::VariantTrust& variant : trust.variants) {
    json.push_back({{"name", variant.name},
                    {"decode_bytes", variant.rates.decode_bytes},
                    {"prefill_operations", variant.rates.prefill_operations},
                    {"decodes", variant.name == chosen.few},
                    {"prefills", variant.name == chosen.many},
                    {"faults", faults_json(variant.faults)}});
  }
  return json;
}

Json device_json(const Examined& device) {
  return {{"name", device.name},
          {"description", device.gpu.name},
          {"uuid", device.gpu.uuid},
          {"driver", device.gpu.driver},
          {"kind", device.gpu.kind},
          {"memory", device.gpu.memory},
          {"subgroup_size", device.gpu.subgroup_size},
          {"float16", device.gpu.float16},
          {"cooperative_matrix", device.gpu.cooperative_matrix},
          {"error", device.error.empty() ? Json() : Json(device.error)},
          {"checks", device.trust.checks},
          {"remembered", device.trust.remembered},
          {"faults", faults_json(device.trust.faults)},
          {"variants", variants_json(device.trust)}};
}

std::string machine_text(const Machine& machine) {
  const kernels::MachineProfile& peaks = machine.speeds.peaks;
  const auto memory = kernels::system_memory();
  std::string text = fmt::format(
      "processor   {}, {} threads, kernels for {}\n"
      "memory      {}; reads {:.1f} GB/s with one thread, {:.1f} with all\n"
      "arithmetic  {:.2f} int8 Tops, {:.2f} fp32 Tflops\n"
      "tiles       {}\n\n"
      "format      decode GB/s  of reads   prefill Tops  of peak\n",
      printable(peaks.cpu), peaks.threads, kernels::cpu::instruction_set(),
      memory ? size_text(memory->available) + " of " + size_text(memory->total) + " free"
             : "unknown",
      peaks.read_bandwidth_one / 1e9, peaks.read_bandwidth_all / 1e9, peaks.int8_peak / 1e12,
      peaks.fp32_peak / 1e12, tile_text());
  for (const auto& [format, rates] : machine.speeds.cpu.formats) {
    text += fmt::format(
        "{:<10}  {:>11.1f}  {:>7.0f}%  {:>12.2f}  {:>6.0f}%\n", gguf::info(format).name,
        rates.decode_bytes / 1e9, 100 * rates.decode_bytes / peaks.read_bandwidth_all,
        rates.prefill_operations / 1e12, 100 * rates.prefill_operations / peaks.int8_peak);
  }
  return text;
}

// How products are computed, a line for each variant.
std::string variants_text(const engine::DeviceTrust& trust) {
  const engine::DeviceTrust::Choice chosen = trust.fastest();
  std::string text = "            products  decode GB/s  prefill Gops  (Q4_K)\n";
  for (const engine::VariantTrust& variant : trust.variants) {
    text += fmt::format("            {:<8}  ", variant.name);
    if (!variant.faults.empty()) {
      text += fmt::format("not used: computes wrong ({})\n", engine::summary(variant.faults));
      continue;
    }
    const bool few = variant.name == chosen.few, many = variant.name == chosen.many;
    text += fmt::format("{:>11.2f}  {:>12.1f}  {}\n", variant.rates.decode_bytes / 1e9,
                        variant.rates.prefill_operations / 1e9,
                        few && many ? "decodes and prefills"
                        : few       ? "decodes"
                        : many      ? "prefills"
                                    : "");
  }
  return text;
}

std::string device_text(const Examined& device) {
  std::string text = fmt::format(
      "\n{}    {} ({}), {}\n            uuid {}, {}, subgroups of {}{}{}\n", device.name,
      printable(device.gpu.name), device.gpu.kind, printable(device.gpu.driver), device.gpu.uuid,
      size_text(device.gpu.memory), device.gpu.subgroup_size, device.gpu.float16 ? ", fp16" : "",
      device.gpu.cooperative_matrix ? ", cooperative matrices" : "");
  if (!device.error.empty()) return text + "            cannot be used: " + device.error + "\n";
  const engine::DeviceTrust& trust = device.trust;
  const char* when = trust.remembered ? "tested earlier (--again tests anew)" : "tested now";
  if (trust.faults.empty()) {
    return text + fmt::format("            computes right: {} checks, {}\n", trust.checks, when) +
           variants_text(trust);
  }
  text += fmt::format("            COMPUTES WRONG in {} of {} checks, {}; the CPU does its part:\n",
                      trust.faults.size(), trust.checks, when);
  for (const kernels::Finding& fault : trust.faults) {
    text += fmt::format("              {}: {}\n", fault.check, fault.problem);
  }
  return text;
}

Status report(const DoctorOptions& options) {
  QUERN_TRY(const std::vector<Examined> devices, examine_devices(options));
  QUERN_TRY(const Machine machine,
            this_machine({.formats = {usual_formats()}, .again = options.again}));
  if (options.json) {
    Json json = machine_json(machine);
    json["devices"] = Json::array();
    for (const Examined& device : devices) json["devices"].push_back(device_json(device));
    QUERN_CHECK(write_stdout(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  } else {
    std::string text = machine_text(machine);
    for (const Examined& device : devices) text += device_text(device);
    if (devices.empty()) text += "\nno Vulkan device\n";
    QUERN_CHECK(write_stdout(text));
  }
  for (const Examined& device : devices) {
    if (!options.strict) continue;
    std::vector<kernels::Finding> faults = device.trust.faults;
    for (const engine::VariantTrust& variant : device.trust.variants) {
      faults.insert(faults.end(), variant.faults.begin(), variant.faults.end());
    }
    if (faults.empty()) continue;
    return fail(ErrorKind::kFailure, "device-wrong",
                fmt::format("{} computes wrong ({})", device.name, engine::summary(faults)));
  }
  return {};
}

}  // namespace

void add_doctor(CLI::App& app, Run& run) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* command = app.add_subcommand(
      "doctor", "Show this machine, its kernels and their speed, and test its GPUs");
  command->footer(
      "Speeds are measured once and kept in ~/.cache/quern, as are the tests of each GPU with its\n"
      "driver. Every GPU is tested before it is used for the first time: one that computes wrong "
      "is\n"
      "not used.");
  command
      ->add_option("--device", options->devices,
                   "GPUs to test: vulkan:N or vulkan:NAME (default: all)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->option_text("NAME,…");
  command->add_flag("--again", options->again,
                    "measure and test again, whatever was found earlier");
  command->add_flag("--strict", options->strict, "fail if a GPU computes wrong");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &run] { run = [options] { return report(*options); }; });
}

}  // namespace quern::tools

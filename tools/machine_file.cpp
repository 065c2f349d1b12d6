#include "tools/machine_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "bench/os_system.h"
#include "engine/devices.h"
#include "gguf/os_file.h"
#include "kernels/os_machine.h"

namespace quern::tools {
namespace {

using nlohmann::json;
constexpr const char* kVersionKey = "quern_machine";
constexpr int kVersion = 3;
constexpr size_t kMostReads = 16;  // looks at the memory that are kept
constexpr double kFirstLook = 2;   // seconds; the later ones are shorter

tl::unexpected<Error> malformed(const std::string& path, const std::string& what) {
  return bad_input("profile",
                   fmt::format("{} is not a machine profile: {}", escape(path, 256), what));
}

struct Figure {
  const char* name;
  double kernels::MachineProfile::*value;
};
constexpr Figure kFigures[] = {{"read_bandwidth_one", &kernels::MachineProfile::read_bandwidth_one},
                               {"read_bandwidth_all", &kernels::MachineProfile::read_bandwidth_all},
                               {"int8_peak", &kernels::MachineProfile::int8_peak},
                               {"fp32_peak", &kernels::MachineProfile::fp32_peak}};

// A positive number of an object; -1 if there is none.
double positive(const json& object, const char* name) {
  const json value = object.is_object() ? object.value(name, json()) : json();
  return value.is_number() && value.get<double>() >= 0 ? value.get<double>() : -1;
}

std::string text_of(const json& object, const char* name) {
  const json value = object.is_object() ? object.value(name, json()) : json();
  return value.is_string() ? value.get<std::string>() : "";
}

std::optional<gguf::Format> find_format(std::string_view name) {
  const auto found = std::ranges::find(gguf::kFormats, name, &gguf::FormatInfo::name);
  if (found == gguf::kFormats.end()) return std::nullopt;
  return found->format;
}

json speeds_json(const engine::DeviceSpeeds& speeds) {
  json formats = json::object();
  for (const auto& [format, rates] : speeds.formats) {
    formats[std::string(gguf::info(format).name)] = {
        {"decode_bytes", rates.decode_bytes},
        {"prefill_operations", rates.prefill_operations},
        {"read_bandwidth", rates.read_bandwidth}};
  }
  return {{"run", speeds.costs.run},
          {"operation", speeds.costs.operation},
          {"formats", std::move(formats)}};
}

Result<engine::DeviceSpeeds> parse_speeds(const json& object, const std::string& path) {
  engine::DeviceSpeeds speeds;
  if (!object.is_object()) return malformed(path, "it lacks speeds");
  speeds.costs = {positive(object, "run"), positive(object, "operation")};
  if (speeds.costs.run < 0 || speeds.costs.operation < 0) {
    return malformed(path, "speeds need run and operation, in seconds");
  }
  const json formats = object.value("formats", json::object());
  for (const auto& [name, rates] : formats.items()) {
    const auto format = find_format(name);
    const double decode = positive(rates, "decode_bytes");
    const double prefill = positive(rates, "prefill_operations");
    const double read = positive(rates, "read_bandwidth");
    if (!(decode > 0 && prefill > 0 && read >= 0)) {
      return malformed(path, "rates must be positive");
    }
    if (format) speeds.formats[*format] = {decode, prefill, read};
  }
  return speeds;
}

Status parse_device(const json& object, const std::string& path, Machine& machine) {
  engine::DeviceProfile device{.name = text_of(object, "name"),
                               .description = text_of(object, "description"),
                               .driver = text_of(object, "driver")};
  const double memory = positive(object, "memory"), free = positive(object, "free");
  if (device.name.empty() || !(memory >= 0 && memory <= 0x1p60 && free >= 0 && free <= 0x1p60)) {
    return malformed(path, "devices need name, memory and free");
  }
  device.in_host = object.value("in_host_memory", json()) == true;
  device.memory = static_cast<uint64_t>(memory);
  device.free = static_cast<uint64_t>(free);
  const double most = positive(object, "max_allocation");  // absent in files of earlier programs
  if (most > 0 && most <= 0x1p60) device.max_allocation = static_cast<uint64_t>(most);
  QUERN_TRY(machine.speeds.devices[device.name],
            parse_speeds(object.value("speeds", json()), path));
  machine.devices.push_back(std::move(device));
  return {};
}

// Measures what `known` lacks; `reader`: see probe_kernels.
Status measure(const std::function<Result<std::unique_ptr<kernels::Backend>>()>& open,
               const std::set<gguf::Format>& needed, const kernels::MemoryReader* reader,
               engine::DeviceSpeeds& known) {
  const auto unknown = [&](gguf::Format format) { return !known.formats.contains(format); };
  const bool costs = known.costs.operation == 0 && known.costs.run == 0;
  if (!costs && std::ranges::none_of(needed, unknown)) return {};
  QUERN_TRY(const std::unique_ptr<kernels::Backend> backend, open());
  if (costs) {
    QUERN_TRY(known.costs, kernels::probe_costs(*backend));
  }
  for (const gguf::Format format : needed) {
    if (!unknown(format)) continue;
    QUERN_TRY(known.formats[format], kernels::probe_kernels(*backend, format, reader));
  }
  return {};
}

// What is stored of this machine, if it is this machine and these kernels.
Machine stored_machine(const std::string& path, size_t threads) {
  const auto stored = read_machine(path);
  if (stored && stored->speeds.peaks.threads == threads &&
      stored->speeds.peaks.cpu == kernels::cpu_name() &&
      stored->kernels == kernels::kernels_digest()) {
    return *stored;
  }
  return {};
}

// The machine's description of a device; speeds of another device of that name, or with another
// driver, are forgotten.
Result<engine::DeviceSpeeds*> find_device(Machine& machine, const std::string& name) {
  QUERN_TRY(engine::DeviceProfile device, engine::describe_device(name));
  engine::DeviceSpeeds& speeds = machine.speeds.devices[name];
  const auto known = std::ranges::find(machine.devices, name, &engine::DeviceProfile::name);
  if (known == machine.devices.end()) {
    machine.devices.push_back(std::move(device));
  } else {
    const bool same = known->description == device.description && known->driver == device.driver;
    if (!same) speeds = {};
    *known = std::move(device);
  }
  return &speeds;
}

}  // namespace

std::string cache_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (cache && cache[0] == '/') return std::string(cache) + "/quern";
  if (home && home[0] == '/') return std::string(home) + "/.cache/quern";
  return {};
}

Result<Machine> read_machine(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return bad_input("profile", fmt::format("cannot open {}", escape(path, 256)));
  const json object = json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object() || object.value(kVersionKey, json()) != kVersion) {
    return malformed(path, fmt::format("it lacks \"{}\": {}", kVersionKey, kVersion));
  }
  Machine machine;
  for (const Figure& figure : kFigures) {
    const double value = positive(object, figure.name);
    if (!(value > 0)) return malformed(path, fmt::format("{} must be positive", figure.name));
    machine.speeds.peaks.*figure.value = value;
  }
  const double threads = positive(object, "threads"), memory = positive(object, "memory");
  if (!(threads >= 1 && threads <= 1024)) return malformed(path, "threads must be 1 to 1024");
  if (!(memory >= 0 && memory <= 0x1p60)) return malformed(path, "memory must be a size in bytes");
  machine.speeds.peaks.cpu = text_of(object, "cpu");
  machine.speeds.peaks.threads = static_cast<size_t>(threads);
  machine.memory = static_cast<uint64_t>(memory);
  machine.kernels = text_of(object, "kernels");
  for (const json& read : object.value("reads", json::array())) {
    if (!read.is_number() || !(read.get<double>() > 0))
      return malformed(path, "reads must be positive");
    machine.speeds.reads.push_back(read.get<double>());
  }
  QUERN_TRY(machine.speeds.cpu, parse_speeds(object.value("speeds", json()), path));
  for (const json& device : object.value("devices", json::array())) {
    QUERN_CHECK(parse_device(device, path, machine));
  }
  return machine;
}

Status write_machine(const std::string& path, const Machine& machine) {
  nlohmann::ordered_json object = {{kVersionKey, kVersion},
                                   {"kernels", machine.kernels},
                                   {"cpu", machine.speeds.peaks.cpu},
                                   {"threads", machine.speeds.peaks.threads}};
  for (const Figure& figure : kFigures) object[figure.name] = machine.speeds.peaks.*figure.value;
  object["memory"] = machine.memory;
  object["reads"] = machine.speeds.reads;
  object["speeds"] = speeds_json(machine.speeds.cpu);
  object["devices"] = json::array();
  for (const engine::DeviceProfile& device : machine.devices) {
    object["devices"].push_back({{"name", device.name},
                                 {"description", device.description},
                                 {"driver", device.driver},
                                 {"in_host_memory", device.in_host},
                                 {"memory", device.memory},
                                 {"free", device.free},
                                 {"max_allocation", device.max_allocation},
                                 {"speeds", speeds_json(machine.speeds.devices.at(device.name))}});
  }
  const std::string text = object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  QUERN_TRY(gguf::ReplacedFile file, gguf::ReplacedFile::create(path));
  QUERN_CHECK(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

namespace {

// Figures from a busy machine are low, and they are kept.
void warn_if_busy(const bench::Moment& before, const bench::Moment& after) {
  constexpr double kBusy = 0.2;  // processors
  const double seconds = after.time - before.time;
  if (!before.busy || !after.busy || seconds < 1) return;  // too short to tell
  const double others = (*after.busy - *before.busy - (after.own - before.own)) / seconds;
  if (others < kBusy) return;
  fmt::print(stderr,
             "quern: warning: other programs used {:.1f} processors meanwhile, so the figures are "
             "low; `quern doctor --again` measures anew\n",
             others);
}

// Keeps a look at the memory; 0: there was no memory to look at.
void keep(double read, std::vector<double>& reads) {
  if (read <= 0) return;
  reads.push_back(read);
  while (reads.size() > kMostReads) reads.erase(reads.begin());
}

}  // namespace

Result<Machine> this_machine(const MachineNeeds& needs) {
  const size_t threads = needs.threads > 0 ? needs.threads : kernels::usable_processors().size();
  const std::filesystem::path folder(cache_folder());
  const std::string path = (folder / fmt::format("machine-{}.json", threads)).string();
  Machine machine = needs.again ? Machine{} : stored_machine(path, threads);
  bool said = false;
  const bench::Moment before = bench::now();
  const auto say = [&] {
    if (std::exchange(said, true)) return;
    std::fputs("quern: measuring this machine, once, for a few seconds\n", stderr);
  };
  if (machine.kernels.empty()) {
    say();
    machine.kernels = kernels::kernels_digest();
    machine.speeds.peaks = kernels::probe(threads);
  }
  const kernels::MemoryReader reader(threads);
  for (size_t i = 0; i <= needs.devices.size(); ++i) {
    engine::DeviceSpeeds* speeds = &machine.speeds.cpu;
    if (i > 0) {
      QUERN_TRY(speeds, find_device(machine, needs.devices[i - 1]));
      if (needs.devices[i - 1] == engine::kReferenceDevice) continue;  // nobody waits for it
    }
    const auto open = [&]() -> Result<std::unique_ptr<kernels::Backend>> {
      say();
      if (i == 0) return kernels::make_cpu_backend(threads);
      return engine::make_device(needs.devices[i - 1], cache_folder());
    };
    QUERN_CHECK(measure(open,
                        i < needs.formats.size() ? needs.formats[i] : std::set<gguf::Format>(),
                        i == 0 ? &reader : nullptr, *speeds));
  }
  const bool first = machine.speeds.reads.empty();
  keep(first ? reader.look(kFirstLook) : reader.look(), machine.speeds.reads);
  if (said) warn_if_busy(before, bench::now());
  std::error_code error;
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  // Without the file it is measured again the next time.
  if (!folder.empty() && !error) static_cast<void>(write_machine(path, machine));
  return machine;
}

}  // namespace quern::tools

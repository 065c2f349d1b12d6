// describe_machine() for Linux: one row per fact, each read on its own.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "bench/os_read_linux.h"
#include "bench/os_system.h"
#include "kernels/os_machine.h"

namespace quern::bench {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const std::string kCpus = "/sys/devices/system/cpu/";

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// The word in [brackets] of "always [madvise] never".
Json chosen_word(const char* path) {
  const std::string line = read_line(path).value_or("");
  const size_t open = line.find('['), close = line.find(']');
  if (open == std::string::npos || close == std::string::npos) return nullptr;
  return line.substr(open + 1, close - open - 1);
}

Json kib_field(const char* key) {
  const std::optional<std::string> kib = read_field("/proc/meminfo", key);
  return kib ? Json(std::strtoull(kib->c_str(), nullptr, 10) * 1024) : Json(nullptr);
}

Json flag(const std::string& path) {
  const std::optional<double> value = read_number(path);
  return value ? Json(*value != 0) : Json(nullptr);
}

Json physical_cores() {
  std::set<std::string> cores;
  for (const int processor : kernels::usable_processors()) {
    const auto siblings =
        read_line(kCpus + "cpu" + std::to_string(processor) + "/topology/thread_siblings_list");
    if (!siblings) return nullptr;
    cores.insert(*siblings);
  }
  return cores.size();
}

Json boost() {
  const std::optional<double> disabled = read_number(kCpus + "intel_pstate/no_turbo");
  return disabled ? Json(*disabled == 0) : flag(kCpus + "cpufreq/boost");
}

Json megahertz(const char* file) {
  const std::optional<double> kilohertz = read_number(kCpus + "cpu0/cpufreq/" + file);
  return kilohertz ? Json(*kilohertz / 1000) : Json(nullptr);
}

// Configured speed of the first memory module, in MT/s: SMBIOS structure 17, offset 0x20 (DMTF
// DSP0134, section 7.18). Readable by root only.
Json memory_speed() {
  std::ifstream file("/sys/firmware/dmi/tables/DMI", std::ios::binary);
  const std::string table(std::istreambuf_iterator<char>(file), {});
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(table[at]); };
  for (size_t at = 0; at + 4 <= table.size();) {
    const size_t type = byte(at), length = byte(at + 1);
    if (length < 4 || at + length > table.size()) break;
    if (type == 17 && length >= 0x22) {
      const unsigned speed = byte(at + 0x20) + 256u * byte(at + 0x21);
      if (speed > 0) return speed;
    }
    const size_t strings_end = table.find(std::string(2, '\0'), at + length);
    if (strings_end == std::string::npos) break;
    at = strings_end + 2;
  }
  return nullptr;
}

Json virtualization() {
  if (const auto product = read_line("/sys/class/dmi/id/product_name");
      product && read_line("/sys/hypervisor/type")) {
    return *product;
  }
  const std::string flags = read_field("/proc/cpuinfo", "flags").value_or("");
  if (flags.empty()) return nullptr;
  return flags.find("hypervisor") == std::string::npos ? "none" : "virtual machine";
}

Json operating_system() {
  std::optional<std::string> name = read_field("/etc/os-release", "PRETTY_NAME=");
  if (!name) return nullptr;
  std::erase(*name, '"');
  return *name;
}

Json host_kernel() {
  const auto release = read_line("/proc/sys/kernel/osrelease");
  return release ? Json("Linux " + *release) : Json(nullptr);
}

Json load_average() {
  std::array<double, 3> loads;
  if (getloadavg(loads.data(), 3) != 3) return nullptr;
  return loads[0];
}

// Display adapters by PCI id, without those of NVIDIA's driver, which tells names.
Json graphics() {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator i("/proc/driver/nvidia/gpus", error), end; !error && i != end;
       i.increment(error)) {
    if (const auto model = read_field(i->path() / "information", "Model:")) found.push_back(*model);
  }
  for (fs::directory_iterator i("/sys/class/drm", error), end; !error && i != end;
       i.increment(error)) {
    const auto vendor = read_line(i->path() / "device/vendor");
    const auto device = read_line(i->path() / "device/device");
    const bool is_card = i->path().filename().string().find('-') == std::string::npos &&
                         i->path().filename().string().starts_with("card");
    if (is_card && vendor && device) found.push_back("PCI " + *vendor + ":" + *device);
  }
  std::string text;
  for (const std::string& name : found) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? Json("none found") : Json(text);
}

struct FactRow {
  const char* group;
  const char* key;
  Json (*read)();
};

constexpr FactRow kFacts[] = {
    {"processor", "model", [] { return Json(kernels::cpu_name()); }},
    {"processor", "usable_processors", [] { return Json(kernels::usable_processors().size()); }},
    {"processor", "allowed_processors",
     [] { return or_null(read_field("/proc/self/status", "Cpus_allowed_list:")); }},
    {"processor", "physical_cores", physical_cores},
    {"processor", "online", [] { return or_null(read_line(kCpus + "online")); }},
    {"processor", "smt_active", [] { return flag(kCpus + "smt/active"); }},
    {"processor", "numa_nodes",
     [] { return or_null(read_line("/sys/devices/system/node/online")); }},
    {"processor", "governor",
     [] { return or_null(read_line(kCpus + "cpu0/cpufreq/scaling_governor")); }},
    {"processor", "frequency_driver",
     [] { return or_null(read_line(kCpus + "cpu0/cpufreq/scaling_driver")); }},
    {"processor", "boost", boost},
    {"processor", "least_mhz", [] { return megahertz("cpuinfo_min_freq"); }},
    {"processor", "most_mhz", [] { return megahertz("cpuinfo_max_freq"); }},
    {"processor", "microcode", [] { return or_null(read_field("/proc/cpuinfo", "microcode")); }},
    {"memory", "total_bytes", [] { return kib_field("MemTotal:"); }},
    {"memory", "available_bytes", [] { return kib_field("MemAvailable:"); }},
    {"memory", "swap_used_bytes",
     [] {
       const Json total = kib_field("SwapTotal:"), free = kib_field("SwapFree:");
       if (total.is_null() || free.is_null()) return Json(nullptr);
       return Json(total.get<uint64_t>() - free.get<uint64_t>());
     }},
    {"memory", "speed_mts", memory_speed},
    {"memory", "transparent_huge_pages",
     [] { return chosen_word("/sys/kernel/mm/transparent_hugepage/enabled"); }},
    {"memory", "page_bytes", [] { return Json(sysconf(_SC_PAGESIZE)); }},
    {"graphics", "adapters", graphics},
    {"graphics", "driver", [] { return or_null(read_line("/proc/driver/nvidia/version")); }},
    {"system", "operating_system", operating_system},
    {"system", "kernel", host_kernel},
    {"system", "virtualization", virtualization},
    {"system", "load_average_1min", load_average},
    {"system", "power_profile",
     [] { return or_null(read_line("/sys/firmware/acpi/platform_profile")); }},
};

}  // namespace

Json describe_machine() {
  Json machine;
  for (const FactRow& fact : kFacts) machine[fact.group][fact.key] = fact.read();
  return machine;
}

}  // namespace quern::bench

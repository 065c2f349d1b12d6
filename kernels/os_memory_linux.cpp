// system_memory.h for Linux: /proc and control groups (cgroups(7), versions 1 and 2).
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string_view>

#include "kernels/system_memory.h"

namespace quern::kernels {
namespace {

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// The number after `name` in a file of "name number" lines, in the file's unit.
std::optional<uint64_t> read_field(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    uint64_t value = 0;
    if (line.starts_with(name) && std::istringstream(line.substr(name.size())) >> value) {
      return value;
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> kibibytes(const char* path, std::string_view name) {
  const auto value = read_field(path, name);
  if (!value) return std::nullopt;
  return *value * 1024;
}

// A file that holds one number; "max" and unreadable files are no limit.
uint64_t read_limit(const std::string& path) {
  uint64_t value = 0;
  std::ifstream file(path);
  return file >> value ? value : kNoLimit;
}

// What a control group still grants; the page cache of files is given back on demand.
uint64_t group_room(const std::string& limit, const std::string& usage, const std::string& stat) {
  const uint64_t most = read_limit(limit), used = read_limit(usage);
  if (most == kNoLimit || used == kNoLimit) return kNoLimit;
  const uint64_t files =
      read_field(stat, "inactive_file ").value_or(0) + read_field(stat, "active_file ").value_or(0);
  const uint64_t held = used - std::min(used, files);
  return most - std::min(most, held);
}

// The tightest room of the control groups that the process is in, and of all above them.
uint64_t control_group_room() {
  uint64_t room = kNoLimit;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const bool version2 = line.starts_with("0::");
    const size_t memory = line.find(":memory:");
    if (!version2 && memory == line.npos) continue;
    std::string path = line.substr(version2 ? 3 : memory + 8);
    for (bool root = false; !root; path.resize(path.find_last_of('/'))) {
      root = path.size() <= 1;
      const std::string folder =
          (version2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory") + (root ? std::string() : path);
      room = std::min(
          room, version2 ? group_room(folder + "/memory.max", folder + "/memory.current",
                                      folder + "/memory.stat")
                         : group_room(folder + "/memory.limit_in_bytes",
                                      folder + "/memory.usage_in_bytes", folder + "/memory.stat"));
      if (root) break;
    }
  }
  return room;
}

// kNoLimit if there is none.
uint64_t address_space_limit() {
  rlimit limit;
  const bool limited = ::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  return limited ? limit.rlim_cur : kNoLimit;
}

}  // namespace

std::optional<uint64_t> address_space_room() {
  const auto used = kibibytes("/proc/self/status", "VmSize:");
  const uint64_t limit = address_space_limit();
  if (!used || limit == kNoLimit) return std::nullopt;
  return limit - std::min(limit, *used);
}

std::optional<SystemMemory> system_memory() {
  const auto total = kibibytes("/proc/meminfo", "MemTotal:");
  const auto available = kibibytes("/proc/meminfo", "MemAvailable:");
  if (!total || !available) return std::nullopt;
  const uint64_t group = control_group_room();
  const auto room = address_space_room();
  if (room && *room < std::min(group, *available)) {
    return SystemMemory{std::min(*total, address_space_limit()), *room,
                        "its address space (ulimit -v)"};
  }
  if (group < *available) return SystemMemory{*total, group, "its control group"};
  return SystemMemory{*total, *available, "this machine"};
}

std::optional<MemoryUsage> memory_usage() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return std::nullopt;  // most of it would be the sanitizer's own
#endif
  // smaps counts page by page; what `status` says of them is some pages behind.
  constexpr const char* kStatus = "/proc/self/status";
  constexpr const char* kPages = "/proc/self/smaps_rollup";
  auto anonymous = kibibytes(kPages, "Anonymous:"), mapped = kibibytes(kPages, "Rss:");
  if (anonymous && mapped) {
    mapped = *mapped - std::min(*mapped, *anonymous);
  } else {  // a kernel without it
    anonymous = kibibytes(kStatus, "RssAnon:");
    mapped = kibibytes(kStatus, "RssFile:");
  }
  const auto peak = kibibytes(kStatus, "VmHWM:"), tables = kibibytes(kStatus, "VmPTE:");
  if (!anonymous || !mapped || !peak || !tables) return std::nullopt;
  return MemoryUsage{*anonymous, *mapped, *peak, *tables};
}

}  // namespace quern::kernels

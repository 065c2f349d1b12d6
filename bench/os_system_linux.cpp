// os_system.h for Linux.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "bench/os_read_linux.h"
#include "bench/os_system.h"

namespace quern::bench {
namespace {

namespace fs = std::filesystem;

double tick() { return 1.0 / static_cast<double>(sysconf(_SC_CLK_TCK)); }

std::optional<uint64_t> status_bytes(const char* key) {
  const std::optional<std::string> kib = read_field("/proc/self/status", key);
  if (!kib) return std::nullopt;
  return std::strtoull(kib->c_str(), nullptr, 10) * 1024;
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

// First line of /proc/stat: cpu user nice system idle iowait irq softirq steal (proc_stat(5)).
void read_processor_times(Moment& moment) {
  std::istringstream line(read_line("/proc/stat").value_or(""));
  std::string name;
  double user, nice, system, idle, wait, irq, soft_irq, steal;
  if (!(line >> name >> user >> nice >> system >> idle >> wait >> irq >> soft_irq >> steal)) return;
  moment.busy = (user + nice + system + irq + soft_irq) * tick();
  moment.steal = steal * tick();
}

// /proc/PID/stat: the name is in parentheses and may hold anything; user and system time are the
// 12th and 13th field after it.
std::optional<Moment::Process> read_process(const fs::path& folder) {
  const std::optional<std::string> line = read_line(folder / "stat");
  if (!line) return std::nullopt;
  const size_t open = line->find('('), close = line->rfind(')');
  if (open == std::string::npos || close == std::string::npos) return std::nullopt;
  std::istringstream rest(line->substr(close + 1));
  std::string skipped;
  for (int field = 0; field < 11; ++field) rest >> skipped;
  double user = 0, system = 0;
  rest >> user >> system;
  return Moment::Process{line->substr(open + 1, close - open - 1), (user + system) * tick()};
}

std::map<int, Moment::Process> read_others() {
  std::map<int, Moment::Process> others;
  std::error_code error;
  for (fs::directory_iterator i("/proc", error), end; !error && i != end; i.increment(error)) {
    const int id = std::atoi(i->path().filename().c_str());
    if (id <= 0 || id == getpid()) continue;
    if (std::optional<Moment::Process> process = read_process(i->path())) others[id] = *process;
  }
  return others;
}

// Largest value of folder/PREFIX*/file over entries that `wanted` accepts.
template <typename Fold, typename Wanted>
std::optional<double> fold_numbers(const char* folder, const char* file, Fold fold, Wanted wanted) {
  std::optional<double> result;
  std::error_code error;
  for (fs::directory_iterator i(folder, error), end; !error && i != end; i.increment(error)) {
    if (!wanted(i->path())) continue;
    const std::optional<double> value = read_number(i->path() / file);
    if (value) result = result ? fold(*result, *value) : *value;
  }
  return result;
}

std::optional<double> hottest_celsius() {
  const auto larger = [](double a, double b) { return std::max(a, b); };
  const auto sensor = [](const fs::path& path) {
    static const std::set<std::string> names = {"coretemp", "k10temp", "zenpower", "cpu_thermal"};
    return names.contains(read_line(path / "name").value_or(""));
  };
  const auto zone = [](const fs::path& path) {
    static const std::set<std::string> types = {"x86_pkg_temp", "cpu-thermal", "cpu_thermal"};
    return types.contains(read_line(path / "type").value_or(""));
  };
  std::optional<double> milli = fold_numbers("/sys/class/hwmon", "temp1_input", larger, sensor);
  if (!milli) milli = fold_numbers("/sys/class/thermal", "temp", larger, zone);
  if (!milli) return std::nullopt;
  return *milli / 1000;
}

std::optional<double> package_joules() {
  const auto sum = [](double a, double b) { return a + b; };
  const auto package = [](const fs::path& path) {
    return read_line(path / "name").value_or("").starts_with("package");
  };
  const std::optional<double> micro =
      fold_numbers("/sys/class/powercap", "energy_uj", sum, package);
  if (!micro) return std::nullopt;
  return *micro / 1e6;
}

// Share of a file's pages in memory; 1 if that cannot be found out.
double cached_share(int file, size_t bytes) {
  if (bytes == 0) return 1;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) return 1;
  std::vector<unsigned char> resident((bytes + page - 1) / page);
  const int result = mincore(memory, bytes, resident.data());
  munmap(memory, bytes);
  if (result != 0) return 1;
  const auto cached = std::ranges::count_if(resident, [](unsigned char c) { return (c & 1) != 0; });
  return static_cast<double>(cached) / static_cast<double>(resident.size());
}

bool drop_from_page_cache(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  struct stat facts = {};
  const bool dropped = fstat(file, &facts) == 0 &&
                       posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0 &&
                       cached_share(file, static_cast<size_t>(facts.st_size)) < 0.01;
  close(file);
  return dropped;
}

}  // namespace

ProcessMemory process_memory() { return {status_bytes("VmRSS:"), status_bytes("VmHWM:")}; }

void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

Moment now() {
  Moment moment;
  moment.time =
      std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  read_processor_times(moment);
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  moment.own = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  moment.major_faults = static_cast<uint64_t>(usage.ru_majflt);
  moment.celsius = hottest_celsius();
  moment.joules = package_joules();
  moment.others = read_others();
  return moment;
}

bool drop_from_page_cache(const std::vector<std::string>& paths) {
  return std::ranges::all_of(paths,
                             [](const std::string& path) { return drop_from_page_cache(path); });
}

}  // namespace quern::bench

#include "tools/machine_file.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "gguf/os_file.h"
#include "kernels/os_machine.h"

namespace quern::tools {
namespace {

using nlohmann::json;
constexpr const char* kVersionKey = "quern_machine";

tl::unexpected<Error> malformed(const std::string& path, const std::string& what) {
  return bad_input("profile",
                   fmt::format("{} is not a machine profile: {}", escape(path, 256), what));
}

struct Figure {
  const char* name;
  double* value;
};
std::array<Figure, 6> figures(engine::MachineSpeeds& speeds) {
  return {Figure{"read_bandwidth_one", &speeds.peaks.read_bandwidth_one},
          Figure{"read_bandwidth_all", &speeds.peaks.read_bandwidth_all},
          Figure{"int8_peak", &speeds.peaks.int8_peak},
          Figure{"fp32_peak", &speeds.peaks.fp32_peak},
          Figure{"decode_bytes", &speeds.rates.decode_bytes},
          Figure{"prefill_operations", &speeds.rates.prefill_operations}};
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
  if (!object.is_object() || object.value(kVersionKey, json()) != 1) {
    return malformed(path, fmt::format("it lacks \"{}\": 1", kVersionKey));
  }
  const auto number = [&](const char* name) {
    const json value = object.value(name, json());
    return value.is_number() ? value.get<double>() : -1;
  };
  Machine machine;
  for (const Figure& figure : figures(machine.speeds)) {
    const double value = number(figure.name);
    if (!(value > 0)) return malformed(path, fmt::format("{} must be positive", figure.name));
    *figure.value = value;
  }
  const double threads = number("threads"), memory = number("memory");
  if (!(threads >= 1 && threads <= 1024)) return malformed(path, "threads must be 1 to 1024");
  if (!(memory >= 0 && memory <= 0x1p60)) return malformed(path, "memory must be a size in bytes");
  const json cpu = object.value("cpu", json());
  machine.speeds.peaks.cpu = cpu.is_string() ? cpu.get<std::string>() : "";
  machine.speeds.peaks.threads = static_cast<size_t>(threads);
  machine.memory = static_cast<uint64_t>(memory);
  return machine;
}

Status write_machine(const std::string& path, Machine machine) {
  nlohmann::ordered_json object = {{kVersionKey, 1},
                                   {"cpu", machine.speeds.peaks.cpu},
                                   {"threads", machine.speeds.peaks.threads}};
  for (const Figure& figure : figures(machine.speeds)) object[figure.name] = *figure.value;
  object["memory"] = machine.memory;
  const std::string text = object.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  QUERN_TRY(gguf::ReplacedFile file, gguf::ReplacedFile::create(path));
  QUERN_CHECK(file.write(std::as_bytes(std::span(text))));
  return file.commit();
}

Result<engine::MachineSpeeds> this_machine(size_t threads) {
  if (threads == 0) threads = kernels::usable_processors().size();
  const std::filesystem::path folder(cache_folder());
  const std::string path = (folder / fmt::format("machine-{}.json", threads)).string();
  if (const auto stored = read_machine(path)) {
    const kernels::MachineProfile& peaks = stored->speeds.peaks;
    if (peaks.threads == threads && peaks.cpu == kernels::cpu_name()) return stored->speeds;
  }
  std::fputs("quern: measuring this machine, once, for a few seconds\n", stderr);
  Machine machine;
  QUERN_TRY(machine.speeds.rates, kernels::probe_kernels(threads));
  machine.speeds.peaks = kernels::probe(threads);
  std::error_code error;
  if (!folder.empty()) std::filesystem::create_directories(folder, error);
  // Without the file it is measured again the next time.
  if (!folder.empty() && !error) static_cast<void>(write_machine(path, machine));
  return machine.speeds;
}

}  // namespace quern::tools

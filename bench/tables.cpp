#include "bench/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "gguf/result.h"

namespace quern::bench {
namespace {

using Json = nlohmann::ordered_json;

// Text from a report without quotes around it, and without anything that acts on a terminal.
std::string plain(const std::string& text) {
  const std::string quoted = escape(text, 200);
  return quoted.size() >= 2 && quoted.ends_with('"') ? quoted.substr(1, quoted.size() - 2) : quoted;
}

std::string gibibytes(const Json& bytes) {
  return bytes.is_number() ? fmt::format("{:.2f}", bytes.get<double>() / (1 << 30)) : "unavailable";
}

const Json& model_of(const Json& result, const Json& report) {
  return report["models"][result["model"].get<size_t>()];
}

std::string model_name(const Json& result, const Json& report) {
  const Json& model = model_of(result, report);
  const std::string name = model["name"];
  return plain(name.empty() ? model["source"].get<std::string>() : name);
}

std::string value(const Json& result, const char* group, const char* key, int decimals) {
  const Json& number = result[group].is_object() ? result[group][key] : result[group];
  return number.is_number() ? fmt::format("{:.{}f}", number.get<double>(), decimals) : "";
}

std::string speed(const Json& result, const char* key) {
  return value(result, "tokens_per_second", key, 2);
}

// Whether results differ in a member.
bool varies(const Json& report, const char* member) {
  const Json& results = report["results"];
  return std::ranges::any_of(results,
                             [&](const Json& r) { return r[member] != results[0][member]; });
}

// "cpu", or "20 layers on vulkan:0".
std::string device_name(const Json& result, const Json&) {
  std::string device = fact(result["device"]);
  if (device == "cpu") return device;
  const auto layers = result["gpu_layers"].get<uint32_t>();
  return fmt::format("{} layer{} on {}", layers, layers == 1 ? "" : "s", device);
}

// What tells one setting from another: the members and how they are said.
struct Setting {
  const char* member;
  std::string (*say)(const Json& result, const Json& report);
};

constexpr Setting kSettings[] = {
    {"model", model_name},
    {"device", device_name},
    {"threads", [](const Json& r, const Json&) { return r["threads"].dump() + " threads"; }},
    {"kv", [](const Json& r, const Json&) { return "kv " + fact(r["kv"]); }},
};

// The members of one result that vary, or those that do not.
std::string setting(const Json& result, const Json& report, bool varying) {
  std::string text;
  for (const Setting& setting : kSettings) {
    if (varies(report, setting.member) != varying) continue;
    text += (text.empty() ? "" : ", ") + setting.say(result, report);
  }
  return text;
}

// "51.2 (46.1 to 56.3)", by the planner's model.
std::string planned(const Json& result, const Json&) {
  const Json plan = result.value("planned", Json());  // absent in reports of earlier programs
  if (!plan.is_object()) return "";
  const Json& interval = plan["interval"];
  return fmt::format("{:.3g} ({:.3g} to {:.3g})", plan["tokens_per_second"].get<double>(),
                     interval[0].get<double>(), interval[1].get<double>());
}

struct Column {
  const char* title;
  const char* csv_name;
  bool on_terminal;  // the others are only in CSV
  std::string (*cell)(const Json& result, const Json& report);
};

constexpr Column kColumns[] = {
    {"model", "model", true, model_name},
    {"", "device", false, device_name},
    {"threads", "threads", true, [](const Json& r, const Json&) { return r["threads"].dump(); }},
    {"kv", "kv", true, [](const Json& r, const Json&) { return r["kv"].get<std::string>(); }},
    {"test", "test", true, [](const Json& r, const Json&) { return r["test"].get<std::string>(); }},
    {"tokens", "tokens", true, [](const Json& r, const Json&) { return r["tokens"].dump(); }},
    {"depth", "depth", true, [](const Json& r, const Json&) { return r["depth"].dump(); }},
    {"tokens/s", "tokens_per_second_median", true,
     [](const Json& r, const Json&) { return speed(r, "median"); }},
    {"planned", "", true, planned},
    {"95 % interval", "", true,
     [](const Json& r, const Json&) {
       const Json& interval = r["tokens_per_second"]["ci95"];
       return fmt::format("{:.2f} to {:.2f}", interval[0].get<double>(), interval[1].get<double>());
     }},
    {"", "tokens_per_second_low", false,
     [](const Json& r, const Json&) { return r["tokens_per_second"]["ci95"][0].dump(); }},
    {"", "tokens_per_second_high", false,
     [](const Json& r, const Json&) { return r["tokens_per_second"]["ci95"][1].dump(); }},
    {"", "tokens_per_second_mean", false,
     [](const Json& r, const Json&) { return speed(r, "mean"); }},
    {"± sd", "tokens_per_second_sd", true,
     [](const Json& r, const Json&) { return speed(r, "sd"); }},
    {"TTFT ms", "ttft_ms_p50", true,
     [](const Json& r, const Json&) { return value(r, "ttft_ms", "p50", 1); }},
    {"TPOT ms", "tpot_ms_p50", true,
     [](const Json& r, const Json&) { return value(r, "tpot_ms", "p50", 2); }},
    {"p99", "tpot_ms_p99", true,
     [](const Json& r, const Json&) { return value(r, "tpot_ms", "p99", 2); }},
    {"", "roofline_share", false,
     [](const Json& r, const Json&) { return value(r["roofline"], "share", "", 4); }},
    {"", "roofline_limit", false,
     [](const Json& r, const Json&) { return r["roofline"]["limit"].get<std::string>(); }},
    {"roofline", "", true,
     [](const Json& r, const Json&) {
       return fmt::format("{:.0f} % {}", 100 * r["roofline"]["share"].get<double>(),
                          r["roofline"]["limit"].get<std::string>());
     }},
    {"peak GiB", "peak_gib", true,
     [](const Json& r, const Json&) { return gibibytes(r["memory"]["peak_bytes"]); }},
    {"of planned", "planned_gib", true,
     [](const Json& r, const Json&) {
       return gibibytes(r["memory"].value("planned_bytes", Json()));  // absent: an earlier program
     }},
    {"", "kv_bytes", false,
     [](const Json& r, const Json&) { return value(r["memory"], "kv_bytes", "", 0); }},
    {"", "token_digest", false,
     [](const Json& r, const Json&) { return r["token_digest"].get<std::string>(); }},
    {"", "tokens_per_second_planned", false,
     [](const Json& r, const Json&) {
       const Json plan = r.value("planned", Json());
       return plan.is_object() ? value(plan, "tokens_per_second", "", 2) : std::string();
     }},
};

using Rows = std::vector<std::vector<std::string>>;  // the first one is the heading

// Characters, not bytes.
size_t width(const std::string& text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

// Pads every column to its widest cell; numbers, which all columns but the first hold, to the
// right.
std::string align(const Rows& rows, const std::string& between, const std::string& edge) {
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    text += edge;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - width(row[i]), ' ');
      text += (i == 0 ? "" : between) + (i == 0 ? row[i] + padding : padding + row[i]);
    }
    text += edge.empty() ? "\n" : " |\n";
  }
  return text;
}

std::string markdown(Rows rows) {
  std::vector<std::string> line;
  for (size_t i = 0; i < rows[0].size(); ++i) line.push_back(i == 0 ? "---" : "---:");
  rows.insert(rows.begin() + 1, line);
  return align(rows, " | ", "| ");
}

std::string bullets(const Json& report, const char* bullet) {
  std::string text;
  for (const std::string& warning : warnings(report)) text += bullet + warning + "\n";
  return text;
}

std::string verdict(const Json& report) {
  if (report["publishable"].get<bool>()) return "Nothing speaks against publishing these figures.";
  return report["results"].empty() ? "Nothing was measured." : "Not publishable as it is:";
}

std::string quoted_csv(const std::string& cell) {
  if (cell.find_first_of(",\"\n") == std::string::npos) return cell;
  std::string quoted = "\"";
  for (const char c : cell) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + '"';
}

std::string csv_line(const std::vector<std::string>& cells) {
  std::string line;
  for (const std::string& cell : cells) line += (line.empty() ? "" : ",") + quoted_csv(cell);
  return line + "\n";
}

std::string readable(std::string key) {
  std::ranges::replace(key, '_', ' ');
  return key;
}

}  // namespace

std::string own_setting(const Json& result, const Json& report) {
  const std::string differing = setting(result, report, true);
  return (differing.empty() ? "" : ", ") + differing;
}

std::string common_setting(const Json& report) {
  return report["results"].empty() ? "" : setting(report["results"][0], report, false);
}

Rows result_rows(const Json& report) {
  std::vector<const Column*> columns;
  for (const Column& column : kColumns) {
    const auto is_setting = [&](const Setting& s) {
      return column.csv_name == std::string(s.member);
    };
    const bool constant =
        std::ranges::any_of(kSettings, is_setting) && !varies(report, column.csv_name);
    const bool empty = std::ranges::all_of(
        report["results"], [&](const Json& result) { return column.cell(result, report).empty(); });
    if (column.on_terminal && !constant && !empty) columns.push_back(&column);
  }
  Rows rows(1);
  for (const Column* column : columns) rows[0].push_back(column->title);
  for (const Json& result : report["results"]) {
    rows.emplace_back();
    for (const Column* column : columns) rows.back().push_back(column->cell(result, report));
  }
  return rows;
}

std::vector<std::string> warnings(const Json& report) {
  std::vector<std::string> lines;
  std::map<std::string, size_t> seen;  // code -> line
  std::vector<size_t> others;
  for (const Json& warning : report["warnings"]) {
    const auto [line, is_new] = seen.try_emplace(warning["code"].get<std::string>(), lines.size());
    if (!is_new) {
      ++others[line->second];
      continue;
    }
    std::string where;
    if (warning["result"].is_number()) {
      where = title(report["results"][warning["result"].get<size_t>()], report) + ": ";
    }
    lines.push_back(where + warning["message"].get<std::string>());
    others.push_back(0);
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    if (others[i] > 0) lines[i] += fmt::format(" (the same in {} more tests)", others[i]);
  }
  return lines;
}

std::string title(const Json& result, const Json& report) {
  return fmt::format("{} {} at depth {}{}", result["test"].get<std::string>(),
                     result["tokens"].dump(), result["depth"].dump(), own_setting(result, report));
}

std::string fact(const Json& value) {
  if (value.is_null()) return "unavailable";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_string()) return plain(value.get<std::string>());
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  return value.dump();
}

std::vector<FactGroup> facts(const Json& report) {
  std::vector<FactGroup> groups;
  const auto add = [&](std::string name, const Json& object) {
    groups.push_back({std::move(name), {}});
    for (const auto& [key, value] : object.items()) {
      if (!value.is_structured()) groups.back().facts.emplace_back(readable(key), fact(value));
    }
  };
  for (const auto& [group, values] : report["machine"].items()) add(group, values);
  add("quern", report["quern"]);
  for (const Json& model : report["models"]) {
    add("model", model);
    auto& facts = groups.back().facts;
    for (const Json& digest : model["sha256"]) facts.emplace_back("sha256", fact(digest));
    for (const auto& [key, value] : model["load"].items()) {
      facts.emplace_back("load " + readable(key), fact(value));
    }
    for (const Json& row : model["quantization"]) {
      facts.emplace_back(fact(row["format"]),
                         fmt::format("{} tensors, {} GiB, {}", fact(row["tensors"]),
                                     gibibytes(row["bytes"]), fact(row["kernel"])));
    }
  }
  for (const Json& probe : report["rooflines"]) {
    groups.push_back({"roofline, " + fact(probe["when"]), {{"threads", fact(probe["threads"])}}});
    const auto rate = [&](const char* name, const char* key, double unit, const char* text) {
      groups.back().facts.emplace_back(
          name, fmt::format("{:.2f} {}", probe[key].get<double>() / unit, text));
    };
    rate("read bandwidth, one thread", "read_bandwidth_one", 1e9, "GB/s");
    rate("read bandwidth, all threads", "read_bandwidth", 1e9, "GB/s");
    rate("int8 peak", "int8_peak", 1e12, "TOP/s");
    rate("fp32 peak", "fp32_peak", 1e12, "TFLOP/s");
  }
  return groups;
}

std::string to_text(const Json& report) {
  return common_setting(report) + "\n\n" + align(result_rows(report), "  ", "") + "\n" +
         verdict(report) + "\n" + bullets(report, "  - ");
}

std::string to_markdown(const Json& report) {
  std::string text = "# Quern benchmark\n\n" + common_setting(report) + "\n\n" +
                     markdown(result_rows(report)) + "\n" + verdict(report) + "\n\n" +
                     bullets(report, "- ");
  for (const FactGroup& group : facts(report)) {
    text += "\n## " + group.name + "\n\n";
    for (const auto& [name, value] : group.facts) text += "- " + name + ": " + value + "\n";
  }
  return text;
}

std::string to_csv(const Json& report) {
  std::vector<std::string> cells;
  for (const Column& column : kColumns) {
    if (*column.csv_name) cells.push_back(column.csv_name);
  }
  std::string text = csv_line(cells);
  for (const Json& result : report["results"]) {
    cells.clear();
    for (const Column& column : kColumns) {
      if (*column.csv_name) cells.push_back(column.cell(result, report));
    }
    text += csv_line(cells);
  }
  return text;
}

std::string to_llama_bench(const Json& report) {
  Rows rows = {{"model", "size", "params", "backend", "threads", "test", "t/s"}};
  for (const Json& result : report["results"]) {
    const Json& model = model_of(result, report);
    const uint64_t depth = result["depth"].get<uint64_t>();
    const Json& speed = result["tokens_per_second"];
    rows.push_back(
        {model_name(result, report), gibibytes(model["bytes"]) + " GiB",
         fmt::format("{:.2f} B", model["parameters"].get<double>() / 1e9), "CPU",
         result["threads"].dump(),
         fmt::format("{}{}{}", result["test"] == "prefill" ? "pp" : "tg", result["tokens"].dump(),
                     depth > 0 ? fmt::format(" @ d{}", depth) : ""),
         fmt::format("{:.2f} ± {:.2f}", speed["mean"].get<double>(), speed["sd"].get<double>())});
  }
  return markdown(std::move(rows));
}

}  // namespace quern::bench

#include "tools/inspect_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/mix.h"

namespace quern::tools {
namespace {

using gguf::File;
using gguf::Value;
using gguf::ValueType;
using nlohmann::ordered_json;

constexpr size_t kShownElements = 8;  // of an array, unless all are asked for

// A tensor of either kind, as far as a listing needs it.
struct TensorRow {
  std::string_view name, type;
  std::span<const uint64_t> shape;
  uint64_t elements, bytes;
  bool weights;  // of one of the block formats, not plain numbers
};

// Tensors of one type together.
struct TypeUse {
  std::string_view type;
  bool weights = true;
  uint64_t tensors = 0, elements = 0, bytes = 0;
  double bits_per_value() const {
    return 8.0 * static_cast<double>(bytes) / static_cast<double>(elements);
  }
};

std::vector<TensorRow> tensor_rows(const File& file) {
  std::vector<TensorRow> rows;
  const auto add = [&](const auto& tensor, std::string_view type, bool weights) {
    rows.push_back({tensor.name, type, std::span(tensor.shape).first(tensor.dims),
                    tensor.elements(), tensor.bytes.size(), weights});
  };
  for (const gguf::TensorView& t : file.tensors()) add(t, gguf::info(t.format).name, true);
  for (const gguf::NumberTensorView& t : file.number_tensors())
    add(t, gguf::info(t.type).name, false);
  return rows;
}

// By bytes, largest first.
std::vector<TypeUse> quantization_mix(std::span<const TensorRow> rows) {
  std::map<std::string_view, TypeUse> uses;
  for (const TensorRow& row : rows) {
    TypeUse& use = uses[row.type];
    use.type = row.type;
    use.weights = row.weights;
    ++use.tensors;
    use.elements += row.elements;
    use.bytes += row.bytes;
  }
  std::vector<TypeUse> sorted;
  for (const auto& [type, use] : uses) sorted.push_back(use);
  std::ranges::sort(sorted, std::greater{},
                    [](const TypeUse& use) { return std::pair(use.bytes, use.type); });
  return sorted;
}

// All weights together.
TypeUse total(std::span<const TypeUse> mix) {
  TypeUse all;
  for (const TypeUse& use : mix) {
    if (!use.weights) continue;
    all.tensors += use.tensors;
    all.elements += use.elements;
    all.bytes += use.bytes;
  }
  return all;
}

// The name of a `general.file_type` value; nullopt for values that were removed or are not known.
std::optional<std::string_view> file_type_name(uint64_t value) {
  const auto mix = std::ranges::find(engine::mixes(), value, &engine::Mix::file_type);
  if (mix == engine::mixes().end()) return std::nullopt;
  return mix->name;
}

// What the file says it is, or else the type of most of its bytes.
std::string file_type(const File& file, std::span<const TypeUse> mix) {
  const Value* value = file.find("general.file_type");
  if (value && value->as_u64()) {
    if (const auto known = file_type_name(*value->as_u64())) return std::string(*known);
  }
  return mix.empty() ? "none" : "mostly " + std::string(mix[0].type);
}

std::string_view first_text(const File& file, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    if (const auto text = file.text(key); !text.empty()) return text;
  }
  return {};
}

// The facts at the top of a report: a label (also the JSON name) and a text from the file.
std::vector<std::pair<std::string_view, std::string_view>> facts(const File& file) {
  return {
      {"name", first_text(file, {"general.name", "general.basename"})},
      {"architecture", file.text("general.architecture")},
      {"kind", file.text("general.type", "model")},
      {"author", first_text(file, {"general.author", "general.organization"})},
      {"source", first_text(file, {"general.source.url", "general.source.repo_url",
                                   "general.repo_url", "general.url", "general.source.doi",
                                   "general.doi", "general.base_model.0.repo_url"})},
      {"base_model", file.text("general.base_model.0.name")},
      {"quantized_by", file.text("general.quantized_by")},
      {"license", first_text(file, {"general.license", "general.license.name"})},
      {"license_link", file.text("general.license.link")},
      {"description", file.text("general.description")},
  };
}

size_t shown_elements(const Value& value, bool all) {
  if (value.element_type() == ValueType::kArray) return 0;
  return all ? value.size() : std::min(value.size(), kShownElements);
}

std::string type_text(const Value& value) {
  if (value.type() != ValueType::kArray) return std::string(gguf::name(value.type()));
  return fmt::format("{}[{}]", gguf::name(value.element_type()), value.size());
}

// Text ------------------------------------------------------------------------------------------

std::string scalar_text(const Value& value) {
  if (const auto text = value.as_string()) return escape(*text);
  if (const auto flag = value.as_bool()) return *flag ? "true" : "false";
  if (value.type() == ValueType::kF32)
    return fmt::format("{}", static_cast<float>(*value.as_f64()));
  if (value.type() == ValueType::kF64) return fmt::format("{}", *value.as_f64());
  if (const auto number = value.as_u64()) return fmt::format("{}", *number);
  return fmt::format("{}", *value.as_i64());
}

std::string value_text(const Value& value, bool all) {
  if (value.type() != ValueType::kArray) return scalar_text(value);
  std::string out;
  const size_t shown = shown_elements(value, all);
  for (size_t i = 0; i < shown; ++i) out += (i ? ", " : "") + scalar_text(*value.at(i));
  if (shown < value.size()) out += shown ? ", …" : "…";
  return out;
}

// 3560512 -> "3.56 MB"
std::string scaled(uint64_t value, std::string_view unit) {
  static constexpr std::array<std::string_view, 6> kPrefixes = {"", "k", "M", "G", "T", "P"};
  auto number = static_cast<double>(value);
  size_t prefix = 0;
  for (; number >= 999.5 && prefix + 1 < kPrefixes.size(); ++prefix) number /= 1000;
  const std::string digits = prefix == 0 ? fmt::format("{}", value) : fmt::format("{:.3g}", number);
  const std::string suffix = std::string(kPrefixes[prefix]) + std::string(unit);
  return suffix.empty() ? digits : digits + " " + suffix;
}

std::string shape_text(std::span<const uint64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::string mix_text(std::span<const TypeUse> mix) {
  std::string out = fmt::format("\n{:<9}{:>8}{:>16}{:>16}{:>12}{:>8}\n", "type", "tensors",
                                "values", "bytes", "bits/value", "share");
  uint64_t bytes = 0;
  for (const TypeUse& use : mix) bytes += use.bytes;
  for (const TypeUse& use : mix) {
    out += fmt::format("{:<9}{:>8}{:>16}{:>16}{:>12.4g}{:>7.1f}%\n", use.type, use.tensors,
                       use.elements, use.bytes, use.bits_per_value(),
                       100.0 * static_cast<double>(use.bytes) / static_cast<double>(bytes));
  }
  return out;
}

std::string metadata_text(const File& file, bool all) {
  size_t key_width = 3, type_width = 4;
  for (const auto& entry : file.metadata()) {
    key_width = std::max(key_width, std::min<size_t>(entry.key.size(), 48));
    type_width = std::max(type_width, type_text(entry.value).size());
  }
  std::string out = fmt::format("\n{:<{}}  {:<{}}  value\n", "key", key_width, "type", type_width);
  for (const auto& entry : file.metadata()) {
    // Keys have no control characters, but may hold bytes that are not text.
    const std::string quoted = escape(entry.key);
    const bool plain = quoted.size() == entry.key.size() + 2;
    out += fmt::format("{:<{}}  {:<{}}  {}\n", plain ? std::string(entry.key) : quoted, key_width,
                       type_text(entry.value), type_width, value_text(entry.value, all));
  }
  return out;
}

std::string tensors_text(std::span<const TensorRow> rows) {
  std::string out = fmt::format("\n{:<9}{:<24}{:>14}  tensor\n", "type", "shape", "bytes");
  for (const TensorRow& row : rows) {
    out += fmt::format("{:<9}{:<24}{:>14}  {}\n", row.type, shape_text(row.shape), row.bytes,
                       escape(row.name));
  }
  return out;
}

// JSON ------------------------------------------------------------------------------------------

ordered_json scalar_json(const Value& value) {
  if (const auto text = value.as_string()) return *text;
  if (const auto flag = value.as_bool()) return *flag;
  if (const auto number = value.as_u64()) return *number;
  if (const auto number = value.as_i64()) return *number;
  const double number = *value.as_f64();
  if (std::isfinite(number)) return number;
  return std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf";  // JSON has no such numbers
}

ordered_json value_json(const Value& value, bool all) {
  if (value.type() != ValueType::kArray) {
    return {{"type", gguf::name(value.type())}, {"value", scalar_json(value)}};
  }
  ordered_json elements = ordered_json::array();
  const size_t shown = shown_elements(value, all);
  for (size_t i = 0; i < shown; ++i) elements.push_back(scalar_json(*value.at(i)));
  return {{"type", "array"},
          {"element_type", gguf::name(value.element_type())},
          {"length", value.size()},
          {"value", std::move(elements)},
          {"complete", shown == value.size()}};
}

ordered_json mix_json(std::span<const TypeUse> mix) {
  ordered_json out = ordered_json::array();
  for (const TypeUse& use : mix) {
    out.push_back({{"type", use.type},
                   {"tensors", use.tensors},
                   {"values", use.elements},
                   {"bytes", use.bytes},
                   {"bits_per_value", use.bits_per_value()}});
  }
  return out;
}

ordered_json parts_json(const File& file, const ReportOptions& options) {
  ordered_json out = ordered_json::array();
  const auto parts = file.parts();
  for (size_t i = 0; i < parts.size(); ++i) {
    ordered_json part = {{"path", parts[i].path}, {"bytes", parts[i].bytes.size()}};
    if (!options.digests.empty()) part["sha256"] = options.digests[i];
    out.push_back(std::move(part));
  }
  return out;
}

}  // namespace

std::string text_report(const File& file, const ReportOptions& options) {
  const auto rows = tensor_rows(file);
  const auto mix = quantization_mix(rows);
  const TypeUse all = total(mix);
  std::string out;
  const auto line = [&](std::string_view label, std::string_view text) {
    out += fmt::format("{:<14}{}\n", label, text);
  };
  const auto parts = file.parts();
  for (size_t i = 0; i < parts.size(); ++i) {
    line("file", escape(parts[i].path, 4096));
    if (!options.digests.empty()) line("sha256", options.digests[i]);
  }
  for (auto [label, text] : facts(file)) {
    std::string spaced(label);
    std::ranges::replace(spaced, '_', ' ');
    if (!text.empty()) line(spaced, escape(text, 256));
  }
  line("size", fmt::format("{} ({} bytes), GGUF version {}", scaled(file.size_bytes(), "B"),
                           file.size_bytes(), file.version()));
  line("parameters", fmt::format("{} ({})", scaled(all.elements, ""), all.elements));
  if (all.elements > 0) {
    line("quantization",
         fmt::format("{}, {:.4g} bits per weight", file_type(file, mix), all.bits_per_value()));
  }
  if (!mix.empty()) out += mix_text(mix);
  out += metadata_text(file, options.arrays);
  if (options.tensors) out += tensors_text(rows);
  return out;
}

std::string json_report(const File& file, const ReportOptions& options) {
  const auto rows = tensor_rows(file);
  const auto mix = quantization_mix(rows);
  const TypeUse all = total(mix);
  ordered_json out = {{"gguf_version", file.version()}, {"files", parts_json(file, options)}};
  for (const auto& [label, text] : facts(file)) {
    out[std::string(label)] = text.empty() ? ordered_json(nullptr) : ordered_json(text);
  }
  out["bytes"] = file.size_bytes();
  out["parameters"] = all.elements;
  out["file_type"] = file_type(file, mix);
  out["bits_per_weight"] = all.elements ? ordered_json(all.bits_per_value()) : nullptr;
  out["quantization"] = mix_json(mix);
  ordered_json& metadata = out["metadata"] = ordered_json::array();
  for (const auto& entry : file.metadata()) {
    ordered_json item = {{"key", entry.key}};
    item.update(value_json(entry.value, options.arrays));
    metadata.push_back(std::move(item));
  }
  ordered_json& tensors = out["tensors"] = ordered_json::array();
  for (const TensorRow& row : rows) {
    tensors.push_back(
        {{"name", row.name}, {"type", row.type}, {"shape", row.shape}, {"bytes", row.bytes}});
  }
  out["warnings"] = std::vector<std::string>(file.warnings().begin(), file.warnings().end());
  return out.dump(2, ' ', /*ensure_ascii=*/true, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace quern::tools

#include "engine/metadata.h"

#include <fmt/format.h>

#include <cmath>

namespace quern::engine {

std::string Keys::key(std::string_view suffix) const {
  return fmt::format("{}.{}", architecture_, suffix);
}

const gguf::Value* Keys::find(std::string_view suffix) {
  read_.emplace(suffix);
  return file_.find(key(suffix));
}

bool Keys::is_array(std::string_view suffix) const {
  const gguf::Value* value = file_.find(key(suffix));
  return value && value->type() == gguf::ValueType::kArray;
}

void Keys::reject_unread(std::span<const std::string_view> suffixes) {
  for (const std::string_view suffix : suffixes) {
    const gguf::Value* value = file_.find(key(suffix));
    if (!value || read_.contains(suffix)) continue;
    if (value->as_f64() == 0.0 || value->as_bool() == false) continue;
    reject("key-unsupported", suffix,
           fmt::format("key {} changes the model in a way that Quern does not know for {}",
                       escape(key(suffix)), escape(architecture_)));
  }
}

void Keys::reject(std::string code, std::string_view suffix, std::string message) {
  if (error_) return;
  error_ = Error{.kind = ErrorKind::kBadInput,
                 .code = std::move(code),
                 .message = std::move(message),
                 .path = file_.path(),
                 .field = key(suffix),
                 .offset = {},
                 .found = {},
                 .allowed = {}};
}

Status Keys::status() const {
  if (error_) return tl::unexpected(*error_);
  return {};
}

double Keys::checked(std::string_view suffix, std::optional<double> value, Range range) {
  if (!value) {
    reject("key-type", suffix, fmt::format("key {} has an unusable type", escape(key(suffix))));
    return range.min;
  }
  if (!std::isfinite(*value) || *value < range.min || *value > range.max) {
    reject("key-range", suffix,
           fmt::format("key {} is {}, allowed is {} to {}", escape(key(suffix)), *value, range.min,
                       range.max));
    return range.min;
  }
  return *value;
}

uint64_t Keys::integer(std::string_view suffix, Range range, std::optional<uint64_t> fallback) {
  const gguf::Value* value = find(suffix);
  if (!value) {
    if (fallback) return *fallback;
    reject("key-missing", suffix, fmt::format("key {} is missing", escape(key(suffix))));
    return static_cast<uint64_t>(range.min);
  }
  const std::optional<uint64_t> number = value->as_u64();
  return static_cast<uint64_t>(checked(
      suffix, number ? std::optional<double>(static_cast<double>(*number)) : std::nullopt, range));
}

double Keys::real(std::string_view suffix, Range range, std::optional<double> fallback) {
  const gguf::Value* value = find(suffix);
  if (value) return checked(suffix, value->as_f64(), range);
  if (fallback) return *fallback;
  reject("key-missing", suffix, fmt::format("key {} is missing", escape(key(suffix))));
  return range.min;
}

bool Keys::flag(std::string_view suffix, bool fallback) {
  const gguf::Value* value = find(suffix);
  if (!value) return fallback;
  const std::optional<bool> flag = value->as_bool();
  if (!flag) reject("key-type", suffix, fmt::format("key {} must be a bool", escape(key(suffix))));
  return flag.value_or(fallback);
}

std::string Keys::text(std::string_view suffix, std::string_view fallback) {
  const gguf::Value* value = find(suffix);
  if (!value) return std::string(fallback);
  const std::optional<std::string_view> text = value->as_string();
  if (!text)
    reject("key-type", suffix, fmt::format("key {} must be a string", escape(key(suffix))));
  return std::string(text.value_or(fallback));
}

std::vector<uint64_t> Keys::per_layer(std::string_view suffix, size_t layers, Range range,
                                      std::optional<uint64_t> fallback) {
  const gguf::Value* value = find(suffix);
  if (!value || value->type() != gguf::ValueType::kArray) {
    return std::vector<uint64_t>(layers, integer(suffix, range, fallback));
  }
  if (value->size() != layers) {
    reject("key-range", suffix,
           fmt::format("key {} has {} values, one per layer would be {}", escape(key(suffix)),
                       value->size(), layers));
    return std::vector<uint64_t>(layers, static_cast<uint64_t>(range.min));
  }
  std::vector<uint64_t> values;
  for (size_t i = 0; i < layers; ++i) {
    std::optional<uint64_t> number = value->u64_at(i);
    if (const std::optional<bool> flag = value->bool_at(i)) number = *flag;
    values.push_back(static_cast<uint64_t>(
        checked(suffix, number ? std::optional<double>(static_cast<double>(*number)) : std::nullopt,
                range)));
  }
  return values;
}

}  // namespace quern::engine

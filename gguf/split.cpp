#include "gguf/split.h"

#include <cstdio>
#include <filesystem>

namespace quern::gguf {
namespace {

constexpr uint64_t kMostParts = 65535;

// An integer key of a split file; `fallback` when it may be absent.
Result<uint64_t> split_key(const Part& part, std::string_view key,
                           std::optional<uint64_t> fallback = std::nullopt) {
  const Value* value = part.find(key);
  if (!value && fallback) return *fallback;
  if (!value) {
    return tl::unexpected(Error{ErrorKind::kBadInput, "split-missing-key",
                                "split file lacks " + std::string(key), part.path, std::string(key),
                                std::nullopt, "absent", "present"});
  }
  if (const auto number = value->as_u64()) return *number;
  const std::string type(name(value->type()));
  return part.fail_value(
      "key-type", key, type, "a non-negative integer",
      "key " + escape(key) + ": found " + type + ", expected a non-negative integer");
}

std::string split_suffix(uint64_t number, uint64_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "-%05llu-of-%05llu.gguf",
                static_cast<unsigned long long>(number + 1),
                static_cast<unsigned long long>(count));
  return text;
}

}  // namespace

Result<SplitKeys> read_split_keys(const Part& part) {
  SplitKeys keys;
  QUERN_TRY(keys.count, split_key(part, "split.count", 1));
  if (keys.count == 0 || keys.count > kMostParts) {
    const std::string found = std::to_string(keys.count);
    return part.fail_value("split-count", "split.count", found, "1 to 65535",
                           "says " + found + " parts, must be 1 to 65535");
  }
  if (keys.count == 1) return keys;
  QUERN_TRY(keys.number, split_key(part, "split.no"));
  if (keys.number >= keys.count) {
    const std::string found = std::to_string(keys.number), last = std::to_string(keys.count - 1);
    return part.fail_value(
        "split-no", "split.no", found, "0 to " + last,
        "is part " + found + ", expected part 0 to " + last + " (counted from 0)");
  }
  QUERN_TRY(keys.tensors, split_key(part, "split.tensors.count"));
  return keys;
}

Result<std::vector<std::string>> split_paths(const std::string& path, const SplitKeys& keys) {
  const std::string suffix = split_suffix(keys.number, keys.count);
  if (!path.ends_with(suffix)) {
    const std::string name = std::filesystem::path(path).filename().string();
    return tl::unexpected(Error{ErrorKind::kBadInput, "split-name",
                                "split file must be named NAME" + suffix, path, "file name",
                                std::nullopt, name, "NAME" + suffix});
  }
  const std::string prefix = path.substr(0, path.size() - suffix.size());
  std::vector<std::string> paths;
  for (uint64_t k = 0; k < keys.count; ++k) paths.push_back(prefix + split_suffix(k, keys.count));
  return paths;
}

Status check_parts(std::span<const Part> parts) {
  QUERN_TRY(const SplitKeys first, read_split_keys(parts[0]));
  const auto fail_count = [](const Part& part, uint64_t says, std::string rest, uint64_t allowed) {
    return tl::unexpected(Error{ErrorKind::kBadInput, "split-count",
                                "says " + std::to_string(says) + " parts, " + std::move(rest),
                                part.path, "split.count", std::nullopt, std::to_string(says),
                                std::to_string(allowed)});
  };
  if (first.count != parts.size()) {
    return fail_count(parts[0], first.count, std::to_string(parts.size()) + " given", parts.size());
  }
  if (first.count == 1) return {};

  uint64_t tensors = 0;
  for (uint64_t k = 0; k < parts.size(); ++k) {
    QUERN_TRY(const SplitKeys keys, read_split_keys(parts[k]));
    if (keys.count != first.count) {
      return fail_count(parts[k], keys.count, "the first says " + std::to_string(first.count),
                        first.count);
    }
    if (keys.number != k) {
      const std::string found = std::to_string(keys.number), wanted = std::to_string(k);
      return parts[k].fail_value(
          "split-no", "split.no", found, wanted,
          "is part " + found + ", expected part " + wanted + " (counted from 0)");
    }
    tensors += parts[k].placements.size();
  }
  if (tensors != first.tensors) {
    const std::string found = std::to_string(tensors), wanted = std::to_string(first.tensors);
    return parts[0].fail_value("split-tensors", "split.tensors.count", found, wanted,
                               found + " tensors in all parts, " + wanted + " expected");
  }
  return {};
}

}  // namespace quern::gguf

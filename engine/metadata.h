// Keys: reads an architecture's metadata with a range for every field (spec: gguf container, 5).
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"

namespace quern::engine {

// Reads "ARCH.suffix" keys. The first problem is kept and everything after it returns a harmless
// value, so that a family reads all its keys in a row and asks status() once.
class Keys {
 public:
  struct Range {
    double min, max;
  };

  Keys(const gguf::File& file, std::string architecture)
      : file_(file), architecture_(std::move(architecture)) {}

  // Errors: "key-missing" without a fallback, "key-type", "key-range".
  uint64_t integer(std::string_view suffix, Range range, std::optional<uint64_t> fallback = {});
  double real(std::string_view suffix, Range range, std::optional<double> fallback = {});
  std::string text(std::string_view suffix, std::string_view fallback);
  bool flag(std::string_view suffix, bool fallback);
  // One value for all layers, or an array with one value per layer; true counts as 1.
  std::vector<uint64_t> per_layer(std::string_view suffix, size_t layers, Range range,
                                  std::optional<uint64_t> fallback = {});

  bool has(std::string_view suffix) const { return file_.find(key(suffix)) != nullptr; }
  bool is_array(std::string_view suffix) const;
  // Errors: "key-unsupported", if one of the keys is set (neither 0 nor false), but none of the
  // functions above has asked for it.
  void reject_unread(std::span<const std::string_view> suffixes);
  void reject(std::string code, std::string_view suffix, std::string message);
  Status status() const;

  const gguf::File& file() const { return file_; }
  const std::string& architecture() const { return architecture_; }

 private:
  const gguf::Value* find(std::string_view suffix);
  std::string key(std::string_view suffix) const;
  double checked(std::string_view suffix, std::optional<double> value, Range range);

  const gguf::File& file_;
  std::string architecture_;
  std::set<std::string, std::less<>> read_;  // suffixes
  std::optional<Error> error_;
};

}  // namespace quern::engine

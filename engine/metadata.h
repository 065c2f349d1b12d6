// Keys: reads an architecture's metadata with a range for every field (spec: gguf container, 5).
#pragma once

#include <cstdint>
#include <optional>
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
  // One value for all layers, or an array with one value per layer.
  std::vector<uint64_t> per_layer(std::string_view suffix, size_t layers, Range range,
                                  std::optional<uint64_t> fallback = {});

  bool has(std::string_view suffix) const { return file_.find(key(suffix)) != nullptr; }
  void reject(std::string code, std::string_view suffix, std::string message);
  Status status() const;

 private:
  std::string key(std::string_view suffix) const;
  double checked(std::string_view suffix, std::optional<double> value, Range range);

  const gguf::File& file_;
  std::string architecture_;
  std::optional<Error> error_;
};

}  // namespace quern::engine

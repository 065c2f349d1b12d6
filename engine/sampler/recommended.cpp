#include "engine/sampler/recommended.h"

#include <fmt/format.h>

#include <optional>

namespace quern::engine {
namespace {

std::string value_text(const gguf::Value& value) {
  if (const auto integer = value.as_i64()) return std::to_string(*integer);
  if (const auto number = value.as_f64()) return fmt::format("{}", *number);
  return {};
}

}  // namespace

std::vector<std::string> apply_recommended(SamplerOptions& options, const gguf::File& file) {
  std::vector<std::string> warnings;
  for (const OptionRow& row : option_rows()) {
    if (row.metadata_key.empty()) continue;
    const std::string key = fmt::format("general.sampling.{}", row.metadata_key);
    const gguf::Value* value = file.find(key);
    if (!value) continue;
    if (const Status set = set_option(options, row.name, value_text(*value)); !set) {
      warnings.push_back(fmt::format("{} is ignored: {}", key, set.error().message));
    }
  }
  return warnings;
}

}  // namespace quern::engine

#include "engine/model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "engine/models/families.h"
#include "gguf/exceptions.h"

namespace quern::engine {
namespace {

struct Family {
  std::string_view architecture;
  Result<Model> (*read)(const gguf::File&);
};

constexpr std::array kFamilies = {
    Family{"llama", models::read_llama},
    Family{"qwen2", models::read_qwen2},
    Family{"qwen3", models::read_qwen3},
};

tl::unexpected<Error> refuse(const gguf::File& file, ErrorKind kind, std::string code,
                             std::string message) {
  auto error = fail(kind, std::move(code), std::move(message));
  error.value().path = file.path();
  return error;
}

}  // namespace

std::vector<std::string_view> supported_architectures() {
  std::vector<std::string_view> names;
  for (const Family& family : kFamilies) names.push_back(family.architecture);
  return names;
}

Result<Model> read_model(const gguf::File& file) {
  const std::string_view type = file.text("general.type", "model");
  const std::string_view architecture = file.text("general.architecture");
  if (architecture.empty()) {
    return refuse(file, ErrorKind::kBadInput, "arch-missing",
                  fmt::format("no general.architecture: not a model file (type {})", escape(type)));
  }
  if (type != "model" || architecture == "clip") {
    return refuse(file, ErrorKind::kUnsupported, "file-kind",
                  fmt::format("this is a {} file, not a language model",
                              escape(type != "model" ? type : architecture)));
  }
  const auto family = std::ranges::find(kFamilies, architecture, &Family::architecture);
  if (family == kFamilies.end()) {
    return refuse(file, ErrorKind::kUnsupported, "arch-unknown",
                  fmt::format("architecture {} is not supported; supported: {}",
                              escape(architecture), fmt::join(supported_architectures(), ", ")));
  }
  return catch_exceptions([&] { return family->read(file); });
}

}  // namespace quern::engine

#include "engine/model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "engine/models/families.h"
#include "gguf/exceptions.h"
#include "kernels/quantize/quantizer.h"

namespace quern::engine {
namespace {

struct Family {
  std::string_view architecture;
  Result<Model> (*read)(const gguf::File&);
};

constexpr std::array kFamilies = {
    Family{"cohere2", models::read_cohere2},
    Family{"deepseek2", models::read_deepseek2},
    Family{"falcon", models::read_falcon},
    Family{"gemma", models::read_gemma},
    Family{"gemma2", models::read_gemma2},
    Family{"gemma3", models::read_gemma3},
    Family{"gemma4", models::read_gemma4},
    Family{"glm4", models::read_glm4},
    Family{"glm4moe", models::read_glm4moe},
    Family{"gpt-oss", models::read_gpt_oss},
    Family{"gpt2", models::read_gpt2},
    Family{"granite", models::read_granite},
    Family{"granitehybrid", models::read_granitehybrid},
    Family{"granitemoe", models::read_granitemoe},
    Family{"lfm2", models::read_lfm2},
    Family{"lfm2moe", models::read_lfm2moe},
    Family{"llama", models::read_llama},
    Family{"mistral3", models::read_mistral3},
    Family{"olmo2", models::read_olmo2},
    Family{"phi3", models::read_phi3},
    Family{"qwen2", models::read_qwen2},
    Family{"qwen2moe", models::read_qwen2moe},
    Family{"qwen3", models::read_qwen3},
    Family{"qwen35", models::read_qwen35},
    Family{"qwen35moe", models::read_qwen35moe},
    Family{"qwen3moe", models::read_qwen3moe},
    Family{"smollm3", models::read_smollm3},
    Family{"stablelm", models::read_stablelm},
    Family{"starcoder2", models::read_starcoder2},
};

tl::unexpected<Error> refuse(const gguf::File& file, ErrorKind kind, std::string code,
                             std::string message) {
  auto error = fail(kind, std::move(code), std::move(message));
  error.value().path = file.path();
  return error;
}

// A matrix [in, out] as f32 [out, in].
void append_transposed(const gguf::TensorView& matrix, std::vector<std::byte>& to) {
  const size_t in = matrix.row_values(), out = matrix.rows();
  std::vector<float> rows(in * out), columns(in * out);
  kernels::Quantizer(1).convert({matrix.format, in}, matrix.bytes, gguf::Format::F32, {},
                                std::as_writable_bytes(std::span(rows)));
  for (size_t i = 0; i < in; ++i) {
    for (size_t o = 0; o < out; ++o) columns[i * out + o] = rows[o * in + i];
  }
  const auto bytes = std::as_bytes(std::span(columns));
  to.insert(to.end(), bytes.begin(), bytes.end());
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

uint64_t StackedWeight::file_bytes() const {
  uint64_t sum = 0;
  for (const gguf::TensorView& piece : pieces) sum += piece.bytes.size();
  return sum;
}

void stack_weights(const gguf::File& file, Model& model) {
  for (StackedWeight& stacked : model.stacked) {
    stacked.bytes.clear();
    stacked.bytes.reserve(model.program.weights[stacked.weight].bytes());
    for (const gguf::TensorView& piece : stacked.pieces) {
      if (stacked.transposed) {
        append_transposed(piece, stacked.bytes);
      } else {
        stacked.bytes.insert(stacked.bytes.end(), piece.bytes.begin(), piece.bytes.end());
      }
      file.release(piece.bytes);
    }
    model.weights[stacked.weight].bytes = stacked.bytes;
  }
}

}  // namespace quern::engine

#include "bench/model_source.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "bench/digest.h"
#include "engine/synthetic_model.h"

namespace quern::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kPrefix = "synth:";

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (size_t end; (end = text.find(separator)) != std::string_view::npos;) {
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  parts.emplace_back(text);
  return parts;
}

Result<Synthetic> parse_synthetic(std::string_view text) {
  const std::vector<std::string> parts = split(text, ':');
  if (parts.size() < 2 || parts.size() > 3) {
    return bad_input("synth-shape",
                     "a synthetic model is written synth:SHAPE:MIX or "
                     "synth:SHAPE:MIX:SEED, for example synth:llama-1b:Q4_K_M");
  }
  Synthetic synthetic{parts[0], parts[1]};
  if (!engine::find_synthetic_shape(synthetic.shape)) {
    return bad_input("synth-shape", fmt::format("no synthetic shape {}; quern synth --help lists "
                                                "them",
                                                escape(synthetic.shape)));
  }
  if (!engine::find_mix(synthetic.mix)) {
    return bad_input("synth-type", fmt::format("no quantization mix {}; quern synth --help lists "
                                               "them",
                                               escape(synthetic.mix)));
  }
  if (parts.size() == 3) {
    const char* end = parts[2].data() + parts[2].size();
    const auto [stopped, error] = std::from_chars(parts[2].data(), end, synthetic.seed);
    if (error != std::errc() || stopped != end) {
      return bad_input("synth-seed", fmt::format("{} is not a seed", escape(parts[2])));
    }
  }
  return synthetic;
}

Json quantization(const gguf::File& file) {
  struct Total {
    uint64_t tensors = 0, values = 0, bytes = 0;
  };
  std::map<gguf::Format, Total> totals;
  for (const gguf::TensorView& tensor : file.tensors()) {
    Total& total = totals[tensor.format];
    ++total.tensors;
    total.values += tensor.elements();
    total.bytes += tensor.bytes.size();
  }
  Json rows = Json::array();
  for (const auto& [format, total] : totals) {
    const gguf::FormatInfo& info = gguf::info(format);
    rows.push_back({{"format", info.name},
                    {"tensors", total.tensors},
                    {"values", total.values},
                    {"bytes", total.bytes},
                    {"kernel", !info.is_float()               ? "int8 panel dot product"
                               : format == gguf::Format::BF16 ? "bf16 dot product"
                                                              : "f32 dot product"}});
  }
  return rows;
}

}  // namespace

Result<ModelSource> ModelSource::parse(const std::string& source) {
  ModelSource model;
  model.source_ = model.path_ = source;
  if (source.starts_with(kPrefix)) {
    QUERN_TRY(model.synthetic_, parse_synthetic(std::string_view(source).substr(kPrefix.size())));
  }
  return model;
}

ModelSource::ModelSource(ModelSource&& other) noexcept
    : source_(std::move(other.source_)),
      path_(std::move(other.path_)),
      synthetic_(std::move(other.synthetic_)),
      temporary_(std::exchange(other.temporary_, false)) {}

ModelSource::~ModelSource() {
  std::error_code ignored;
  if (temporary_) std::filesystem::remove(path_, ignored);
}

Status ModelSource::write() {
  if (!synthetic_ || temporary_) return {};
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  path_ = folder / fmt::format("quern-bench-{:08x}.gguf", std::random_device{}());
  temporary_ = true;
  return engine::synthetic_model(*engine::find_synthetic_shape(synthetic_->shape),
                                 *engine::find_mix(synthetic_->mix), synthetic_->seed)
      .write(path_);
}

Result<gguf::File> ModelSource::outline() const {
  if (!synthetic_) return open();
  return engine::synthetic_model(*engine::find_synthetic_shape(synthetic_->shape),
                                 *engine::find_mix(synthetic_->mix), synthetic_->seed)
      .outline(source_);
}

Result<Json> describe(const ModelSource& source, const gguf::File& file) {
  Json model = {{"source", source.source()}, {"name", file.text("general.name")}};
  model["architecture"] = file.text("general.architecture");
  model["synthetic"] = nullptr;
  if (source.synthetic()) {
    model["synthetic"] = {{"shape", source.synthetic()->shape},
                          {"mix", source.synthetic()->mix},
                          {"seed", source.synthetic()->seed}};
  }
  model["bytes"] = file.size_bytes();
  uint64_t parameters = 0;
  for (const gguf::TensorView& tensor : file.tensors()) parameters += tensor.elements();
  model["parameters"] = parameters;
  model["sha256"] = Json::array();
  for (const auto& part : file.parts()) {
    QUERN_TRY(std::string digest, sha256(part.bytes));
    model["sha256"].push_back(std::move(digest));
  }
  model["quantization"] = quantization(file);
  return model;
}

}  // namespace quern::bench

// The models to measure: files, or synthetic ones that are made for the run.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "gguf/file.h"
#include "gguf/result.h"

namespace quern::bench {

struct Synthetic {
  std::string shape, mix;
  uint64_t seed = 1;
};

// A model on disk. A synthetic one is written to a temporary file, which goes with this object.
class ModelSource {
 public:
  // `source`: a path, or synth:SHAPE:MIX[:SEED]. A synthetic model is only described until
  // write(). Errors: "synth-shape", "synth-type", "synth-seed".
  static Result<ModelSource> parse(const std::string& source);

  ModelSource(ModelSource&& other) noexcept;
  ModelSource& operator=(ModelSource&&) = delete;
  ~ModelSource();

  // Makes a synthetic model's file. Errors: those of gguf::Writer.
  Status write();

  const std::string& source() const { return source_; }
  const std::optional<Synthetic>& synthetic() const { return synthetic_; }
  // Errors: those of gguf::File.
  Result<gguf::File> open() const { return gguf::File::open(path_); }
  // The same without its weights, before write(), for a synthetic model.
  Result<gguf::File> outline() const;

 private:
  ModelSource() = default;

  std::string source_, path_;
  std::optional<Synthetic> synthetic_;
  bool temporary_ = false;
};

// Name, size, digest and quantization mix of a model. Errors: "sha256".
Result<nlohmann::ordered_json> describe(const ModelSource& source, const gguf::File& file);

}  // namespace quern::bench

// Requantize: writes a model's tensors in other formats.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/importance.h"
#include "engine/mix.h"
#include "gguf/file.h"
#include "kernels/quantize/quantizer.h"

namespace quern::engine {

// A tensor and what becomes of it; equal formats mean that its bytes are copied.
struct TensorPlan {
  const gguf::TensorView* tensor;
  gguf::Format format;

  bool converts() const { return format != tensor->format; }
  uint64_t bytes() const {
    return gguf::info(format).row_bytes(tensor->row_values()) * tensor->rows();
  }
};

// "Tensors whose name matches `pattern` get this format": * stands for any text, ? for a character.
struct FormatOverride {
  std::string pattern;
  gguf::Format format;
};

// The format of every tensor of the file: that of the mix, unless an override matches (the last one
// counts). Errors: "key-…" (metadata that the mix looks at), "quantize-pattern" (matches no
// tensor), "quantize-tensor" (no matrix, or rows that are no whole blocks).
Result<std::vector<TensorPlan>> plan_formats(const gguf::File& file, const Mix& mix,
                                             std::span<const FormatOverride> overrides,
                                             bool has_importance);

// Of one tensor, when it is done. `error` is absent for copies.
struct TensorResult {
  const TensorPlan* plan;
  std::optional<kernels::EncodingError> error;
};

struct RequantizeOptions {
  const Mix* mix;
  const Importance* importance = nullptr;              // none: every column counts the same
  size_t threads = 0;                                  // 0: all processors
  std::function<void(double)> progress = {};           // share of the values that are done
  std::function<void(const TensorResult&)> done = {};  // in file order
};

// Writes `path`: metadata of `file` with the new file type, tensors as planned. Errors:
// "imatrix-shape", "weights-corrupt", "write", "file-changed", "out-of-memory".
Status requantize(const gguf::File& file, std::span<const TensorPlan> plan,
                  const RequantizeOptions& options, const std::string& path);

// The same file in memory.
Result<std::vector<std::byte>> requantized(const gguf::File& file, std::span<const TensorPlan> plan,
                                           const RequantizeOptions& options);

}  // namespace quern::engine

// Quantizer: encodes matrices in any format, on all processors.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "gguf/format.h"

namespace quern::kernels {

// Squares summed over all values, each times its column's importance.
struct EncodingError {
  double error = 0, signal = 0;

  double relative_rms() const;  // sqrt(error / signal); 0 for all zeros
  EncodingError& operator+=(const EncodingError& other) {
    error += other.error;
    signal += other.signal;
    return *this;
  }
};

// Rows of equal length in one format.
struct Rows {
  gguf::Format format;
  size_t values;  // per row
};

class Quantizer {
 public:
  explicit Quantizer(size_t threads);  // 0: all processors
  ~Quantizer();

  // Encodes the rows of `source` in `format`, so that the sum over rows and columns of
  // importance[column] * error^2 is small. `importance`: one weight >= 0 per column, or empty: all
  // equal. `out`: info(format).row_bytes(rows.values) per row. The source must be finite. The
  // result depends on nothing but the arguments.
  EncodingError convert(const Rows& rows, std::span<const std::byte> source, gguf::Format format,
                        std::span<const float> importance, std::span<std::byte> out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quern::kernels

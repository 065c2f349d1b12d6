#include "kernels/quantize/quantizer.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/quantize/encoders.h"

namespace quern::kernels {
namespace {

using gguf::Format;
using gguf::Traits;

template <Format F>
void encode_blocks(const float* x, const float* w, size_t values, std::byte* out) {
  constexpr size_t kValues = Traits<F>::kValues;
  for (size_t k = 0; k < values; k += kValues, out += Traits<F>::kBytes) {
    typename Traits<F>::Block block;
    quantize::encode(x + k, w + k, block);
    std::memcpy(out, &block, sizeof block);
  }
}

void encode_row(Format format, const float* x, const float* w, size_t values, std::byte* out) {
  switch (format) {
#define QUERN_FORMAT(name, ...) \
  case Format::name:            \
    return encode_blocks<Format::name>(x, w, values, out);
#include "gguf/formats.def"
#undef QUERN_FORMAT
  }
}

// Weights with mean 1. Columns that were never seen still count a little, so that their scales are
// sensible.
std::vector<float> normalize(std::span<const float> importance, size_t values) {
  double sum = 0;
  for (const float v : importance) sum += v;
  std::vector<float> weights(values, 1.0f);
  if (!(sum > 0)) return weights;
  const double unit = static_cast<double>(values) / sum;
  for (size_t i = 0; i < values; ++i) {
    weights[i] = static_cast<float>(std::max(importance[i] * unit, 1e-4));
  }
  return weights;
}

// A worker's space for one row.
struct Scratch {
  std::vector<float> x, decoded;
};

EncodingError compare(const float* x, const float* y, const float* w, size_t values) {
  EncodingError sum;
  for (size_t i = 0; i < values; ++i) {
    const double difference = static_cast<double>(x[i]) - y[i];
    sum.error += w[i] * difference * difference;
    sum.signal += w[i] * static_cast<double>(x[i]) * x[i];
  }
  return sum;
}

}  // namespace

double EncodingError::relative_rms() const { return signal > 0 ? std::sqrt(error / signal) : 0; }

struct Quantizer::Impl {
  explicit Impl(size_t threads) : pool(threads), scratch(threads) {}
  cpu::ThreadPool pool;
  std::vector<Scratch> scratch;
};

Quantizer::Quantizer(size_t threads)
    : impl_(std::make_unique<Impl>(threads == 0 ? cpu::default_threads() : threads)) {}
Quantizer::~Quantizer() = default;

EncodingError Quantizer::convert(const Rows& rows, std::span<const std::byte> source, Format format,
                                 std::span<const float> importance, std::span<std::byte> out) {
  const size_t from_bytes = gguf::info(rows.format).row_bytes(rows.values);
  const size_t to_bytes = gguf::info(format).row_bytes(rows.values);
  const size_t count = source.size() / from_bytes;
  assert(out.size() == count * to_bytes &&
         (importance.empty() || importance.size() == rows.values));
  const std::vector<float> weights = normalize(importance, rows.values);
  for (Scratch& scratch : impl_->scratch) {
    scratch.x.resize(rows.values);
    scratch.decoded.resize(rows.values);
  }
  std::vector<EncodingError> errors(count);
  impl_->pool.run(count, [&](size_t row, size_t worker) {
    auto& [x, decoded] = impl_->scratch[worker];
    cpu::decode_row(rows.format, &source[row * from_bytes], x.data(), rows.values);
    if (!gguf::info(format).is_float()) {
      for (float& v : x) v = std::clamp(v, -quantize::kLargest, quantize::kLargest);
    }
    encode_row(format, x.data(), weights.data(), rows.values, &out[row * to_bytes]);
    cpu::decode_row(format, &out[row * to_bytes], decoded.data(), rows.values);
    errors[row] = compare(x.data(), decoded.data(), weights.data(), rows.values);
  });
  // Row by row, so that the sum does not depend on who encoded what.
  EncodingError total;
  for (const EncodingError& error : errors) total += error;
  return total;
}

}  // namespace quern::kernels

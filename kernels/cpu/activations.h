// Activations as the integer kernels read them: int8 codes with one f32 scale per 32 values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace quern::kernels::cpu {

inline constexpr size_t kActivationGroup = 32;  // values per scale
inline constexpr size_t kSumGroup = 16;         // values per stored sum

// One token's quantized activations: value k is about codes[k] * scales[k / 32].
// Pointers into a workspace made by QuantizedLayout; nothing is owned.
struct QuantizedRow {
  int8_t* codes;  // [values], -127 … 127
  float* scales;  // [values / 32]
  int32_t* sums;  // [values / 16], sum of 16 codes each
};

// Where the parts of one quantized row lie: bytes from the start of the row, each part at a
// multiple of 64. `values` must be a multiple of 32.
struct QuantizedLayout {
  size_t values;

  size_t codes_bytes() const { return round64(values); }
  size_t scales_bytes() const { return round64(values / kActivationGroup * sizeof(float)); }
  size_t sums_bytes() const { return round64(values / kSumGroup * sizeof(int32_t)); }
  size_t row_bytes() const { return codes_bytes() + scales_bytes() + sums_bytes(); }

  QuantizedRow row(std::byte* base, size_t index) const {
    std::byte* start = base + index * row_bytes();
    return {reinterpret_cast<int8_t*>(start), reinterpret_cast<float*>(start + codes_bytes()),
            reinterpret_cast<int32_t*>(start + codes_bytes() + scales_bytes())};
  }

 private:
  static size_t round64(size_t bytes) { return (bytes + 63) / 64 * 64; }
};

// Quantizes x[values] (spec: block formats, section 6): per group of 32, scale = max|x| / 127 and
// code = round to nearest even of x / scale. A scale below the smallest normal float becomes 0;
// a group with NaN or infinity gets a NaN scale and zero codes, so that the result shows it.
void quantize_row(const float* x, size_t values, const QuantizedRow& out);

}  // namespace quern::kernels::cpu

#include "kernels/conformance.h"

#include <fmt/format.h>
#include <hwy/targets.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "gguf/validate.h"
#include "kernels/conformance_blocks.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/format_kernels.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/packed.h"
#include "kernels/cpu/reference.h"
#include "kernels/quantize/quantizer.h"

namespace quern::kernels {
namespace {

using conformance::Bytes;
using conformance::difference;
using conformance::kSeed;
using gguf::FormatInfo;

std::string check_golden(const FormatInfo& format, std::span<const GoldenBlocks> golden) {
  for (const GoldenBlocks& set : golden) {
    const size_t values = set.blocks.size() / format.block_bytes * format.block_values;
    std::vector<float> expected(values), found(values);
    std::memcpy(expected.data(), set.values.data(), values * sizeof(float));
    cpu::reference::decode_row(format.format, set.blocks.data(), found.data(), values);
    const std::string where = difference(found, expected, format.block_values);
    if (!where.empty()) {
      return fmt::format("{}, {} (unpack of {})", set.name, where, conformance::block_name(format));
    }
  }
  return {};
}

std::string check_decode(const FormatInfo& format, const Bytes& blocks) {
  const size_t count = blocks.size() / format.block_bytes;
  std::vector<float> expected(count * format.block_values), found(expected.size());
  cpu::reference::decode_row(format.format, blocks.data(), expected.data(), expected.size());
  // Odd numbers of blocks at a time, as rows have them.
  for (const size_t step : {size_t{1}, size_t{3}, size_t{17}, count}) {
    for (size_t first = 0; first < count; first += step) {
      const size_t n = std::min(step, count - first) * format.block_values;
      cpu::decode_row(format.format, &blocks[first * format.block_bytes],
                      &found[first * format.block_values], n);
    }
    const std::string where = difference(found, expected, format.block_values);
    if (!where.empty()) return where;
  }
  return {};
}

// Activations of several tokens, as kernels and as the reference read them.
struct Activations {
  size_t values;
  std::vector<float> floats;
  cpu::AlignedBuffer quantized;
  std::vector<int8_t> codes;
  std::vector<int32_t> shifts;
  std::vector<float> units;
  std::vector<int32_t> sums;

  Activations(size_t tokens, size_t width, bool extreme)
      : values(width),
        floats(tokens * width),
        codes(floats.size()),
        shifts(floats.size() / cpu::kActivationGroup),
        units(tokens * units_per_token()),
        sums(floats.size() / cpu::kSumGroup) {
    std::mt19937 random(kSeed);
    std::normal_distribution<float> normal;
    for (float& x : floats) x = extreme ? (random() % 2 ? 3.0f : -3.0f) : normal(random);
    const size_t row_bytes = cpu::QuantizedLayout{values}.row_bytes();
    auto memory = cpu::AlignedBuffer::allocate(tokens * row_bytes);
    if (!memory) throw std::bad_alloc();
    quantized = std::move(*memory);
    for (size_t t = 0, n; t < tokens; t += n) {
      n = cpu::QuantizedLayout::block_tokens(t, tokens);
      cpu::quantize_block(&floats[t * values], n, 1, values, quantized.data() + t * row_bytes);
    }
    for (size_t t = 0; t < tokens; ++t) {
      cpu::reference::quantize_row(&floats[t * values], values, row(t));
    }
  }
  size_t units_per_token() const { return (values + cpu::kUnitValues - 1) / cpu::kUnitValues; }
  cpu::reference::QuantizedRow row(size_t token) {
    return {&codes[token * values], &shifts[token * values / cpu::kActivationGroup],
            &units[token * units_per_token()], &sums[token * values / cpu::kSumGroup]};
  }
};

// [rows][values] of valid blocks, taken from the edge blocks in an order without a pattern.
Bytes edge_matrix(const FormatInfo& format, const Bytes& blocks, size_t rows, size_t values) {
  const size_t count = blocks.size() / format.block_bytes;
  Bytes matrix(rows * format.row_bytes(values));
  std::mt19937 random(kSeed);
  for (size_t at = 0; at < matrix.size(); at += format.block_bytes) {
    std::memcpy(&matrix[at], &blocks[random() % count * format.block_bytes], format.block_bytes);
  }
  return matrix;
}

class DotCheck {
 public:
  DotCheck(const FormatInfo& format, const Bytes& blocks)
      : format_(format),
        values_(3 * format.block_values),
        weights_(edge_matrix(format, blocks, cpu::kRowTile, values_)) {}

  // Rows and tokens that fill tiles, and that do not.
  std::string run(bool exact) const {
    for (const bool extreme : {false, true}) {
      for (const size_t tokens : {1, 8, 11}) {
        Activations x(tokens, values_, extreme);
        for (const size_t rows : {1, 15, 16, 29, 32}) {
          for (const bool packed : {false, true}) {
            const std::string where = compare(x, rows, tokens, packed, exact);
            if (!where.empty()) return where;
          }
        }
      }
    }
    return {};
  }

  // The scalar reference against double precision, relative to the sum of magnitudes.
  std::string run_double() const {
    Activations x(1, values_, false);
    std::vector<float> decoded(values_);
    for (size_t r = 0; r < cpu::kRowTile; ++r) {
      cpu::reference::decode_row(format_.format, row(r), decoded.data(), values_);
      double sum = 0, magnitude = 0;
      for (size_t k = 0; k < values_; ++k) {
        const double product = double{decoded[k]} * x.row(0).value(k);
        sum += product;
        magnitude += std::abs(product);
      }
      const double found = cpu::reference::dot_quantized(format_.format, row(r), x.row(0), values_);
      // Minimums are subtracted at the end, so what cancels counts with its size.
      const double bound = 2e-6 * magnitude + 1e-6 * minimums(r, x) + 1e-30;
      if (std::abs(found - sum) > bound) {
        return fmt::format("row {}: {} instead of {}", r, found, sum);
      }
    }
    return {};
  }

 private:
  const std::byte* row(size_t r) const { return &weights_[r * format_.row_bytes(values_)]; }

  double minimums(size_t r, Activations& x) const {
    double sum = 0;
    for (size_t k = 0; k < values_; k += format_.block_values) {
      cpu::reference::UnpackedBlock block;
      cpu::reference::unpack(format_.format, row(r) + format_.row_bytes(k), block);
      for (size_t i = 0; i < format_.block_values; ++i) {
        const double code = std::abs(x.row(0).value(k + i));
        sum += (std::abs(double{block.min[i / 16]}) +
                std::abs(double{block.scale[i / 16]} * block.codes[i])) *
               code;
      }
    }
    return sum;
  }

  std::string compare(Activations& x, size_t rows, size_t tokens, bool packed, bool exact) const {
    const size_t row_bytes = format_.row_bytes(values_);
    const auto tiles =
        cpu::AlignedBuffer::allocate(cpu::packed_bytes(format_.format, cpu::kRowTile, values_));
    const auto scratch = cpu::AlignedBuffer::allocate(cpu::matmul_scratch_bytes());
    const auto memory = cpu::AlignedBuffer::allocate(tokens * cpu::kRowTile * sizeof(float));
    if (!tiles || !scratch || !memory) throw std::bad_alloc();
    auto* out = reinterpret_cast<float*>(memory->data());
    const auto pack = cpu::format_kernels(format_.format).pack;
    if (packed && !pack) return {};
    for (size_t r = 0; packed && r < rows; r += cpu::kPanelRows) {
      pack(row(r), std::min(cpu::kPanelRows, rows - r), row_bytes,
           tiles->data() + r / cpu::kPanelRows * cpu::packed_tile_bytes(format_.format, values_));
    }
    cpu::matmul_tile({.format = format_.format,
                      .weights = packed ? tiles->data() : weights_.data(),
                      .row_bytes = packed ? cpu::WeightTile::kPacked : row_bytes,
                      .rows = rows,
                      .values = values_,
                      .quantized = x.quantized.data(),
                      .halves = nullptr,
                      .floats = x.floats.data(),
                      .tokens = tokens,
                      .out = out},
                     scratch->data());
    for (size_t t = 0; t < tokens; ++t) {
      for (size_t r = 0; r < rows; ++r) {
        const float found = out[t * cpu::kRowTile + r];
        const float expected =
            cpu::reference::dot_quantized(format_.format, row(r), x.row(t), values_);
        const bool equal = std::bit_cast<uint32_t>(found) == std::bit_cast<uint32_t>(expected);
        const double bound = 1e-5 * (minimums(r, x) + std::abs(expected));
        if (exact ? equal : std::abs(found - expected) <= bound) continue;
        return fmt::format("{} rows x {} tokens, {}: row {}, token {}: {} instead of {}", rows,
                           tokens, packed ? "packed" : "mapped", r, t, found, expected);
      }
    }
    return {};
  }

  const FormatInfo& format_;
  const size_t values_;
  const Bytes weights_;
};

// Runs `check(exact)` on every instruction set that was built and that this machine has; `exact`:
// it has FMA, so results are equal to the bit. The first problem is returned, with its name.
template <typename Check>
std::string on_every_instruction_set(Check&& check) {
  std::string problem;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    problem = check(target != HWY_SSE4);
    if (problem.empty()) continue;
    problem = fmt::format("{}: {}", hwy::TargetName(target), problem);
    break;
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  return problem;
}

// A block that is no worse than zeros, for rows without noise, without size, or with an outlier.
std::string check_encoder(const FormatInfo& format) {
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal;
  Quantizer quantizer(1);
  for (const float size : {0.0f, 1e-40f, 1e-7f, 1e-3f, 1.0f, 1e4f, 1e20f}) {
    for (const bool outlier : {false, true}) {
      std::vector<float> x(256);
      for (float& v : x) v = size * normal(random);
      if (outlier) x[7] = 1e4f * size;
      Bytes encoded(format.row_bytes(x.size()));
      const EncodingError error = quantizer.convert(
          {gguf::Format::F32, x.size()}, std::as_bytes(std::span(x)), format.format, {}, encoded);
      const std::string row =
          fmt::format("a row of size {}{}", size, outlier ? " with an outlier" : "");
      for (size_t at = 0; at < encoded.size(); at += format.block_bytes) {
        const gguf::TensorView block{.name = {},
                                     .format = format.format,
                                     .shape = {format.block_values, 1, 1, 1},
                                     .dims = 1,
                                     .bytes = std::span(encoded).subspan(at, format.block_bytes)};
        if (gguf::find_corrupt_block(block)) return row + ": the block is not finite";
      }
      if (!(error.error <= 1.000001 * error.signal)) return row + ": worse than zeros";
    }
  }
  return {};
}

}  // namespace

std::vector<Finding> check_format(gguf::Format format, std::span<const GoldenBlocks> golden) {
  const FormatInfo& facts = gguf::info(format);
  const Bytes blocks = conformance::edge_blocks(facts);
  const DotCheck dot(facts, blocks);
  const std::string kernel = "kernels/cpu/formats/" + conformance::file_name(facts) + ".cpp";
  const auto with_file = [&](std::string problem) {
    return problem.empty() ? problem : problem + " (" + kernel + ")";
  };
  std::vector<Finding> findings;
  findings.push_back({"scalar decode equals the golden blocks", check_golden(facts, golden)});
  if (golden.empty()) {
    findings.back() = {findings.back().check, "no golden blocks of an independent decoder", true};
  }
  const cpu::FormatKernels kernels = cpu::format_kernels(format);
  const bool simd = kernels.unpack && kernels.gemv && kernels.pack;
  findings.push_back({"SIMD kernels exist", ""});
  if (!simd) findings.back() = {findings.back().check, kernel + " is missing", true};
  findings.push_back(
      {"SIMD decode equals the scalar one",
       with_file(on_every_instruction_set([&](bool) { return check_decode(facts, blocks); }))});
  findings.push_back(
      {"dot products equal the scalar ones",
       with_file(on_every_instruction_set([&](bool exact) { return dot.run(exact); }))});
  findings.push_back({"dot products are close to double precision", dot.run_double()});
  findings.push_back({"encoder copes with difficult rows", check_encoder(facts)});
  if (findings.back().failed()) {
    findings.back().problem += fmt::format(" (encode of {})", conformance::block_name(facts));
  }
  return findings;
}

EncoderErrors encoder_errors(gguf::Format format) {
  constexpr size_t kRows = 8, kValues = 1024;
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> even(kRows * kValues), heavy(even.size());
  for (float& v : even) v = normal(random);
  // Every value with a size of its own: many small ones, some large ones.
  for (float& v : heavy) v = normal(random) * std::exp(30 * normal(random));
  Quantizer quantizer(0);
  Bytes encoded(kRows * gguf::info(format).row_bytes(kValues));
  const auto error = [&](const std::vector<float>& x) {
    return quantizer
        .convert({gguf::Format::F32, kValues}, std::as_bytes(std::span(x)), format, {}, encoded)
        .relative_rms();
  };
  const double first = error(even);
  return {first, error(heavy)};
}

}  // namespace quern::kernels

// Speed of the CPU row tiles on one thread, for every format:
//   gemv/FORMAT         one token against a packed matrix larger than the caches: weight bytes/s
//   gemv-mapped/FORMAT  the same, read as the file has it
//   gemm/FORMAT         512 tokens: operations per second (a multiplication and an addition are
//   two) pack/FORMAT         packing a matrix: weight bytes/s
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "gguf/format.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/huge_pages.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/packed.h"

namespace quern::kernels::cpu {
namespace {

constexpr size_t kValues = 2048;

// A matrix [rows][kValues] of arbitrary blocks, and activations for it.
class Problem {
 public:
  Problem(const gguf::FormatInfo& format, size_t rows, size_t tokens, bool packed)
      : format_(format),
        row_bytes_(format.row_bytes(kValues)),
        rows_(rows),
        tokens_(tokens),
        packed_(packed),
        floats_(tokens * kValues) {
    std::mt19937 random(1);
    mapped_ = *HugePages::allocate(bytes());
    // Bytes below 64 keep every scale finite in every format.
    for (size_t i = 0; i < bytes(); ++i) mapped_.data()[i] = static_cast<std::byte>(random() >> 26);
    if (packed_) {
      tiles_ = *HugePages::allocate(packed_bytes(format.format, rows, kValues));
      pack();
    }
    std::normal_distribution<float> normal;
    for (float& x : floats_) x = normal(random);
    const size_t quantized = QuantizedLayout{kValues}.row_bytes();
    quantized_ = *AlignedBuffer::allocate(tokens * quantized);
    for (size_t t = 0; t < tokens; t += QuantizedLayout::block_tokens(t, tokens)) {
      quantize_block(floats_.data() + t * kValues, QuantizedLayout::block_tokens(t, tokens), 1,
                     kValues, quantized_.data() + t * quantized);
    }
    halves_ = *AlignedBuffer::allocate(tokens * halves_stride(kValues) * sizeof(uint16_t));
    for (size_t t = 0; t < tokens; ++t) {
      round_to_halves(floats_.data() + t * kValues, kValues, halves() + t * halves_stride(kValues));
    }
    out_ = *AlignedBuffer::allocate(tokens * kRowTile * sizeof(float));
    scratch_ = *AlignedBuffer::allocate(matmul_scratch_bytes());
  }

  size_t bytes() const { return rows_ * row_bytes_; }
  double operations() const { return 2.0 * static_cast<double>(rows_ * kValues * tokens_); }

  void pack() {
    for (size_t row = 0; row < rows_; row += kPanelRows) {
      format_kernels(format_.format)
          .pack(mapped_.data() + row * row_bytes_, kPanelRows, row_bytes_,
                tiles_.data() + row / kPanelRows * packed_tile_bytes(format_.format, kValues));
    }
  }

  void multiply() {
    for (size_t row = 0; row < rows_; row += kRowTile) {
      const std::byte* weights =
          packed_ ? tiles_.data() + row / kPanelRows * packed_tile_bytes(format_.format, kValues)
                  : mapped_.data() + row * row_bytes_;
      matmul_tile({.format = format_.format,
                   .weights = weights,
                   .row_bytes = packed_ ? WeightTile::kPacked : row_bytes_,
                   .rows = kRowTile,
                   .values = kValues,
                   .quantized = quantized_.data(),
                   .halves = halves(),
                   .floats = floats_.data(),
                   .tokens = tokens_,
                   .out = reinterpret_cast<float*>(out_.data())},
                  scratch_.data());
    }
    benchmark::DoNotOptimize(out_.data());
    benchmark::ClobberMemory();
  }

 private:
  uint16_t* halves() { return reinterpret_cast<uint16_t*>(halves_.data()); }

  gguf::FormatInfo format_;
  size_t row_bytes_, rows_, tokens_;
  bool packed_;
  std::vector<float> floats_;
  HugePages mapped_, tiles_;
  AlignedBuffer quantized_, halves_, out_, scratch_;
};

constexpr size_t kBytes = 128 << 20;  // larger than the last-level cache

size_t many_rows(const gguf::FormatInfo& format) {
  return kBytes / format.row_bytes(kValues) / kRowTile * kRowTile;
}

void gemv(benchmark::State& state, const gguf::FormatInfo& format, size_t tokens, bool packed) {
  Problem problem(format, many_rows(format), tokens, packed);
  for (auto _ : state) problem.multiply();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * problem.bytes()));
}

void gemm(benchmark::State& state, const gguf::FormatInfo& format) {
  Problem problem(format, 128, 512, true);
  for (auto _ : state) problem.multiply();
  state.counters["op"] = benchmark::Counter(
      problem.operations() * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void pack(benchmark::State& state, const gguf::FormatInfo& format) {
  Problem problem(format, many_rows(format), 1, true);
  for (auto _ : state) problem.pack();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * problem.bytes()));
}

}  // namespace
}  // namespace quern::kernels::cpu

int main(int argc, char** argv) {
  using namespace quern;
  namespace cpu = kernels::cpu;
  for (const gguf::FormatInfo& format : gguf::kFormats) {
    const std::string name(format.name);
    benchmark::RegisterBenchmark(("gemv/" + name).c_str(), cpu::gemv, format, 1, true);
    benchmark::RegisterBenchmark(("gemv-pair/" + name).c_str(), cpu::gemv, format, 2, true);
    benchmark::RegisterBenchmark(("gemm/" + name).c_str(), cpu::gemm, format);
    benchmark::RegisterBenchmark(("gemv-mapped/" + name).c_str(), cpu::gemv, format, 1, false);
    benchmark::RegisterBenchmark(("pack/" + name).c_str(), cpu::pack, format);
  }
  benchmark::AddCustomContext("instruction_set", cpu::instruction_set());
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}

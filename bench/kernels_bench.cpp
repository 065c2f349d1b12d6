// Speed of the CPU row tiles on one thread, for every format:
//   gemv/FORMAT  one token against a matrix larger than the caches: bytes of weights per second
//   gemm/FORMAT  512 tokens: operations per second (a multiplication and an addition are two)
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "gguf/format.h"
#include "kernels/cpu/aligned_buffer.h"
#include "kernels/cpu/matmul.h"

namespace quern::kernels::cpu {
namespace {

constexpr size_t kValues = 4096;

// A matrix [rows][kValues] of arbitrary blocks, and activations for it.
class Problem {
 public:
  Problem(const gguf::FormatInfo& format, size_t rows, size_t tokens)
      : format_(format),
        rows_(rows),
        tokens_(tokens),
        floats_(tokens * kValues),
        out_(tokens * rows) {
    std::mt19937 random(1);
    weights_ = *AlignedBuffer::allocate(bytes());
    // Bytes below 64 keep every scale finite in every format.
    for (size_t i = 0; i < bytes(); ++i)
      weights_.data()[i] = static_cast<std::byte>(random() >> 26);
    std::normal_distribution<float> normal;
    for (float& x : floats_) x = normal(random);
    const QuantizedLayout layout{kValues};
    quantized_ = *AlignedBuffer::allocate(tokens * layout.row_bytes());
    for (size_t t = 0; t < tokens; ++t) {
      quantize_row(floats_.data() + t * kValues, kValues, layout.row(quantized_.data(), t));
    }
    scratch_ = *AlignedBuffer::allocate(matmul_scratch_bytes(tokens));
  }

  size_t bytes() const { return rows_ * format_.row_bytes(kValues); }
  double operations() const { return 2.0 * static_cast<double>(rows_ * kValues * tokens_); }

  void multiply() {
    const size_t row_bytes = format_.row_bytes(kValues);
    for (size_t row = 0; row < rows_; row += kRowTile) {
      matmul_tile({format_.format, weights_.data() + row * row_bytes, row_bytes, kRowTile, kValues,
                   quantized_.data(), floats_.data(), kValues, tokens_, out_.data() + row, rows_},
                  scratch_.data());
    }
    benchmark::DoNotOptimize(out_.data());
    benchmark::ClobberMemory();
  }

 private:
  gguf::FormatInfo format_;
  size_t rows_, tokens_;
  std::vector<float> floats_, out_;
  AlignedBuffer weights_, quantized_, scratch_;
};

void gemv(benchmark::State& state, const gguf::FormatInfo& format) {
  constexpr size_t kBytes = 128 << 20;  // larger than the last-level cache
  Problem problem(format, kBytes / format.row_bytes(kValues) / kRowTile * kRowTile, 1);
  for (auto _ : state) problem.multiply();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * problem.bytes()));
}

void gemm(benchmark::State& state, const gguf::FormatInfo& format) {
  Problem problem(format, 128, 512);
  for (auto _ : state) problem.multiply();
  state.counters["op"] = benchmark::Counter(
      problem.operations() * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

}  // namespace
}  // namespace quern::kernels::cpu

int main(int argc, char** argv) {
  using namespace quern;
  for (const gguf::FormatInfo& format : gguf::kFormats) {
    const std::string name(format.name);
    benchmark::RegisterBenchmark(("gemv/" + name).c_str(), kernels::cpu::gemv, format);
    benchmark::RegisterBenchmark(("gemm/" + name).c_str(), kernels::cpu::gemm, format);
  }
  benchmark::AddCustomContext("instruction_set", kernels::cpu::instruction_set());
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}

#include "kernels/kernel_probe.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "gguf/exceptions.h"
#include "kernels/backend.h"

namespace quern::kernels {
namespace {

constexpr uint32_t kIn = 2048, kOut = 8192, kMatrices = 16, kRows = 256;

// One value through all matrices, each with weights of its own.
Program chain(gguf::Format format) {
  Program program;
  const ValueId in = program.add_value(kIn), out = program.add_value(kOut);
  for (WeightId id = 0; id < kMatrices; ++id) {
    program.weights.push_back({"", format, {kIn, kOut, 1, 1}});
    program.ops.push_back(
        Projection{.in = in, .norm = {}, .outputs = {{.weight = id, .out = out}}});
  }
  program.finish(out);
  return program;
}

// Seconds of the median of `runs` runs with `rows` rows, after one that is not counted.
Result<double> median_seconds(Executable& executable, uint32_t rows, int runs) {
  const std::vector<int32_t> tokens(rows);
  std::vector<uint32_t> positions(rows);
  for (uint32_t i = 0; i < rows; ++i) positions[i] = i;
  const std::vector<uint32_t> sequences(rows);
  const std::vector<std::span<const uint32_t>> block_tables(1);
  const std::atomic<bool> never{false};
  std::vector<double> seconds;
  for (int run = 0; run <= runs; ++run) {
    const auto start = std::chrono::steady_clock::now();
    QUERN_CHECK(executable.run({.tokens = tokens,
                                .positions = positions,
                                .sequences = sequences,
                                .block_tables = block_tables,
                                .logit_rows = {}},
                               never));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (run > 0) seconds.push_back(took.count());
  }
  std::ranges::nth_element(seconds, seconds.begin() + runs / 2);
  return seconds[static_cast<size_t>(runs / 2)];
}

Result<KernelRates> measure(size_t threads, gguf::Format format) {
  const Program program = chain(format);
  const uint64_t matrix = program.weights[0].bytes();
  const auto bytes = std::make_unique_for_overwrite<std::byte[]>(matrix * kMatrices);
  std::memset(bytes.get(), 0x11, matrix * kMatrices);  // blocks with small, ordinary scales
  std::vector<gguf::TensorView> weights;
  for (const WeightInfo& info : program.weights) {
    const std::span<const std::byte> part(bytes.get() + weights.size() * matrix, matrix);
    weights.push_back({info.name, format, info.shape, 2, part});
  }
  const std::unique_ptr<Backend> backend = make_cpu_backend(threads);
  QUERN_TRY(const std::unique_ptr<Cache> cache, backend->make_cache(program, CacheType::kF16, 1));
  QUERN_TRY(
      const std::unique_ptr<Executable> executable,
      backend->compile(program, weights, *cache,
                       {.rows = kRows, .logit_rows = 1, .positions = kRows}, WeightHome::kPacked));
  QUERN_TRY(const double decode, median_seconds(*executable, 1, 15));
  QUERN_TRY(const double prefill, median_seconds(*executable, kRows, 3));
  const double operations = 2.0 * kIn * kOut * kMatrices * kRows;
  return KernelRates{static_cast<double>(matrix * kMatrices) / decode, operations / prefill};
}

}  // namespace

Result<KernelRates> probe_kernels(size_t threads, gguf::Format format) {
  return catch_exceptions([&] { return measure(threads, format); });
}

}  // namespace quern::kernels

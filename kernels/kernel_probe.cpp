#include "kernels/kernel_probe.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "gguf/exceptions.h"
#include "kernels/kernels_digest.inc"
#include "kernels/system_memory.h"

namespace quern::kernels {
namespace {

struct Chain {
  uint32_t in, out, matrices;
};
constexpr Chain kQuick = {512, 512, 4};
constexpr double kSlow = 0.01;            // seconds of many rows with one of these
constexpr Chain kSmall = {512, 512, 64};  // large enough to be shared out among threads
constexpr uint32_t kIn = 2048, kOut = 8192;
// More than the largest caches hold, but at most a share of what is available.
constexpr uint64_t kBytes = 640 << 20, kMemoryShare = 6;

// Enough large matrices of a format, of which there may be a packed copy.
Chain large_chain(gguf::Format format) {
  const uint64_t matrix = gguf::info(format).row_bytes(kIn) * kOut;
  const auto memory = system_memory();
  const uint64_t bytes = std::min(kBytes, memory ? memory->available / kMemoryShare : kBytes);
  return {kIn, kOut, static_cast<uint32_t>(std::max<uint64_t>(2, bytes / matrix))};
}

constexpr uint32_t kRows = 256;
constexpr double kEnough = 2;  // seconds of runs

// One value through all matrices, each with weights of its own, and a part with the last one alone:
// many rows need no cold caches.
Program program_of(const Chain& chain, gguf::Format format) {
  Program program;
  const ValueId in = program.add_value(chain.in), out = program.add_value(chain.out);
  for (WeightId id = 0; id < chain.matrices; ++id) {
    program.weights.push_back({"", format, {chain.in, chain.out, 1, 1}});
    program.ops.push_back(
        Projection{.in = in, .norm = {}, .outputs = {{.weight = id, .out = out}}});
  }
  const size_t ops = program.ops.size();
  program.parts = {{0, ops, kAbsent, out}, {ops - 1, ops, kAbsent, out}};
  return program;
}

// A chain that can be run.
class Runner {
 public:
  static Result<Runner> make(Backend& backend, const Chain& chain, gguf::Format format) {
    Runner runner;
    const Program program = program_of(chain, format);
    const uint64_t matrix = program.weights[0].bytes();
    runner.bytes_ = std::make_unique_for_overwrite<std::byte[]>(matrix);
    std::memset(runner.bytes_.get(), 0x11, matrix);  // small, ordinary scales
    std::vector<gguf::TensorView> weights;
    for (const WeightInfo& info : program.weights) {
      weights.push_back({info.name, format, info.shape, 2, {runner.bytes_.get(), matrix}});
    }
    QUERN_TRY(runner.cache_, backend.make_cache(program, CacheType::kF16, 1));
    QUERN_TRY(
        runner.executable_,
        backend.compile(program, weights, *runner.cache_,
                        {.rows = kRows, .logit_rows = 1, .positions = kRows}, WeightHome::kPacked));
    QUERN_CHECK(runner.executable_->pack(UINT64_MAX));
    return runner;
  }

  // Seconds of a run of a part with `rows` rows: of `runs` runs the lower quartile, because
  // neighbours only ever make a run slower.
  Result<double> seconds(size_t part, uint32_t rows, int runs) {
    QUERN_TRY(std::vector<double> times, this->times(part, rows, runs));
    const auto quartile = times.begin() + static_cast<ptrdiff_t>(times.size() / 4);
    std::ranges::nth_element(times, quartile);
    return *quartile;
  }

  // The seconds of each run, after one that is not counted.
  Result<std::vector<double>> times(size_t part, uint32_t rows, int runs) {
    const std::vector<int32_t> tokens(rows);
    std::vector<uint32_t> positions(rows);
    for (uint32_t i = 0; i < rows; ++i) positions[i] = i;
    const std::vector<uint32_t> sequences(rows);
    const std::vector<std::span<const uint32_t>> block_tables(1);
    const std::atomic<bool> never{false};
    std::vector<double> times;
    double total = 0;
    for (int run = 0; run <= runs; ++run) {
      const auto start = std::chrono::steady_clock::now();
      QUERN_CHECK(executable_->run({.tokens = tokens,
                                    .positions = positions,
                                    .sequences = sequences,
                                    .block_tables = block_tables,
                                    .logit_rows = {},
                                    .part = part},
                                   never));
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      total += took.count();
      // A slow device's first run counts, and is the last.
      if (run > 0 || total > kEnough) times.push_back(took.count());
      if (total > kEnough) break;
    }
    return times;
  }

 private:
  std::unique_ptr<std::byte[]> bytes_;
  std::unique_ptr<Cache> cache_;
  std::unique_ptr<Executable> executable_;
};

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

// Bytes that one row reads per second, and what `reader` sees meanwhile: the memory may change
// between two runs, so that the two take turns, and their ratio is what counts.
Result<KernelRates> measure_decode(Runner& runner, double bytes, const MemoryReader& reader) {
  constexpr int kTurns = 15, kRuns = 3;
  constexpr double kLook = 0.02;  // seconds, about as long as the runs
  std::vector<double> rates, shares;
  double before = reader.look(kLook);
  for (int turn = 0; turn < kTurns; ++turn) {
    QUERN_TRY(std::vector<double> times, runner.times(0, 1, kRuns));
    const double after = reader.look(kLook);
    const double total = std::accumulate(times.begin(), times.end(), 0.0);
    rates.push_back(bytes * static_cast<double>(times.size()) / total);
    if (before > 0 && after > 0) shares.push_back(rates.back() / ((before + after) / 2));
    before = after;
  }
  const double rate = median(rates);
  return KernelRates{rate, 0, shares.empty() ? 0 : rate / median(shares)};
}

Result<KernelRates> measure(Backend& backend, gguf::Format format, const Chain& chain,
                            const MemoryReader* reader = nullptr) {
  QUERN_TRY(Runner runner, Runner::make(backend, chain, format));
  const double values = static_cast<double>(chain.in) * chain.out;
  const double bytes = values * gguf::info(format).bits_per_value() / 8 * chain.matrices;
  KernelRates rates;
  if (reader) {
    QUERN_TRY(rates, measure_decode(runner, bytes, *reader));
  } else {
    QUERN_TRY(const double decode, runner.seconds(0, 1, 11));
    rates.decode_bytes = bytes / decode;
  }
  QUERN_TRY(const double prefill, runner.seconds(1, kRows, 3));
  rates.prefill_operations = 2 * values * kRows / prefill;
  return rates;
}

Result<KernelCosts> measure_costs(Backend& backend) {
  QUERN_TRY(Runner runner, Runner::make(backend, kSmall, gguf::Format::Q8_0));
  QUERN_TRY(const double all, runner.seconds(0, 1, 31));
  QUERN_TRY(const double one, runner.seconds(1, 1, 31));
  const double operation = std::max(0.0, (all - one) / (kSmall.matrices - 1));
  return KernelCosts{std::max(0.0, one - operation), operation};
}

}  // namespace

Result<KernelRates> probe_kernels(Backend& backend, gguf::Format format,
                                  const MemoryReader* reader) {
  return catch_exceptions([&] { return measure(backend, format, large_chain(format), reader); });
}

Result<KernelRates> probe_kernels(size_t threads, gguf::Format format) {
  return probe_kernels(*make_cpu_backend(threads), format);
}

Result<KernelRates> probe_products(Backend& backend) {
  return catch_exceptions([&]() -> Result<KernelRates> {
    QUERN_TRY(const KernelRates quick, measure(backend, gguf::Format::Q4_K, kQuick));
    const double operations = 2.0 * kQuick.in * kQuick.out * kRows;
    if (operations / quick.prefill_operations > kSlow) return quick;
    return measure(backend, gguf::Format::Q4_K, large_chain(gguf::Format::Q4_K));
  });
}

Result<KernelCosts> probe_costs(Backend& backend) {
  return catch_exceptions([&] { return measure_costs(backend); });
}

std::string_view kernels_digest() { return QUERN_KERNELS_DIGEST; }

}  // namespace quern::kernels

// Speed of attention on the CPU, at the shapes of a 1B Llama (32 query heads on 8 key/value heads
// of 64 values):
//   decode/CACHE/POSITIONS/THREADS   one row that sees POSITIONS: bytes of the cache per second
//   prefill/CACHE/POSITIONS/THREADS  512 rows, the last sees POSITIONS: operations per second (a
//                                    multiplication and an addition are two)
// Both append to the cache as a model does. There are enough layers for the caches not to help.
#include <benchmark/benchmark.h>

#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.h"

namespace quern::kernels {
namespace {

constexpr Heads kHeads = {32, 8, 64, 64};
constexpr uint32_t kRows = 512;  // of a batch, and tokens of the vocabulary

// q, k and v of a row are vectors of its token; every layer appends and (maybe) attends.
class Layers {
 public:
  Layers(size_t layers, CacheType type, uint32_t positions, size_t threads)
      : positions_(positions), backend_(make_cpu_backend(threads)) {
    const ValueId q = embed(kHeads.queries * kHeads.key_width);
    const ValueId k = embed(kHeads.keys * kHeads.key_width);
    const ValueId v = embed(kHeads.keys * kHeads.value_width);
    const ValueId out = program_.add_value(kHeads.queries * kHeads.value_width);
    const ValueId selected =
        program_.add_value(program_.values[out].width, ValueInfo::Rows::kLogits);
    Rope rope{.frequencies = {}, .pairs = Rope::Pairs::kInterleaved};
    for (uint32_t i = 0; i < kHeads.key_width / 2; ++i) {
      rope.frequencies.push_back(std::pow(5e5, -2.0 * i / kHeads.key_width));
    }
    program_.ropes = {rope};
    program_.layers.assign(layers, kHeads);
    Program append = program_;
    for (uint32_t layer = 0; layer < layers; ++layer) {
      const CacheAppend op{
          .q = q, .k = k, .v = v, .q_norm = {}, .k_norm = {}, .rope = 0, .layer = layer};
      append.ops.push_back(op);
      program_.ops.push_back(op);
      program_.ops.push_back(Attention{q, out, layer, 0.125f});
    }
    program_.ops.push_back(SelectLogitRows{out, selected});
    program_.finish(selected);
    blocks_.resize((positions + kBlockPositions - 1) / kBlockPositions);
    std::iota(blocks_.begin(), blocks_.end(), 0);
    cache_ = *backend_->make_cache(program_, type, static_cast<uint32_t>(blocks_.size()));
    attend_ = compile(program_);
    fill(*compile(append));
  }

  // Rows [first, end): positions of one sequence.
  void run(Executable& executable, uint32_t first, uint32_t end) {
    std::vector<uint32_t> rows(end - first), sequences(end - first, 0);
    std::iota(rows.begin(), rows.end(), first);
    std::vector<int32_t> tokens;
    for (const uint32_t row : rows) tokens.push_back(static_cast<int32_t>(row % kRows));
    const std::array<std::span<const uint32_t>, 1> tables = {blocks_};
    const std::array<uint32_t, 1> logit_rows = {0};
    const std::atomic<bool> never{false};
    benchmark::DoNotOptimize(
        executable.run({tokens, rows, sequences, tables, logit_rows}, never)->data());
  }
  void attend(uint32_t first, uint32_t end) { run(*attend_, first, end); }

 private:
  ValueId embed(uint32_t width) {
    std::mt19937 random(width);
    std::normal_distribution<float> normal;
    std::vector<float>& table = tables_.emplace_back(size_t{width} * kRows);
    for (float& x : table) x = normal(random);
    const std::array<uint64_t, 4> shape = {width, kRows, 1, 1};
    const auto weight = static_cast<WeightId>(weights_.size());
    program_.weights.push_back({"table", gguf::Format::F32, shape});
    weights_.push_back({.name = "table",
                        .format = gguf::Format::F32,
                        .shape = shape,
                        .dims = 4,
                        .bytes = std::as_bytes(std::span(table))});
    const ValueId out = program_.add_value(width);
    program_.ops.push_back(Embed{weight, out});
    return out;
  }

  std::unique_ptr<Executable> compile(const Program& program) {
    return *backend_->compile(program, weights_, *cache_,
                              {.rows = kRows, .logit_rows = 1, .positions = positions_});
  }

  void fill(Executable& append) {
    for (uint32_t first = 0; first < positions_; first += kRows) {
      run(append, first, std::min(first + kRows, positions_));
    }
  }

  const uint32_t positions_;
  Program program_;
  std::vector<std::vector<float>> tables_;
  std::vector<gguf::TensorView> weights_;
  std::vector<uint32_t> blocks_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Cache> cache_;
  std::unique_ptr<Executable> attend_;
};

void decode(benchmark::State& state, CacheType type, uint32_t positions, size_t threads) {
  constexpr size_t kLayers = 16;
  Layers layers(kLayers, type, positions, threads);
  for (auto _ : state) layers.attend(positions - 1, positions);
  const double value_bytes = type == CacheType::kF32 ? 4 : type == CacheType::kF16 ? 2 : 34.0 / 32;
  const double bytes = value_bytes * kLayers * kHeads.keys *
                       (kHeads.key_width + kHeads.value_width) * positions *
                       static_cast<double>(state.iterations());
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
}

void prefill(benchmark::State& state, CacheType type, uint32_t positions, size_t threads) {
  constexpr size_t kLayers = 4;
  Layers layers(kLayers, type, positions, threads);
  for (auto _ : state) layers.attend(positions - kRows, positions);
  const double pairs = kRows * (positions - (kRows - 1) / 2.0);  // of a row and a position it sees
  state.counters["op"] =
      benchmark::Counter(2 * kLayers * kHeads.queries * (kHeads.key_width + kHeads.value_width) *
                             pairs * static_cast<double>(state.iterations()),
                         benchmark::Counter::kIsRate);
}

}  // namespace
}  // namespace quern::kernels

int main(int argc, char** argv) {
  using namespace quern::kernels;
  const std::pair<const char*, CacheType> types[] = {
      {"f16", CacheType::kF16}, {"q8_0", CacheType::kQ8_0}, {"f32", CacheType::kF32}};
  for (const auto& [name, type] : types) {
    for (const size_t threads : {1, 2}) {
      const auto add = [&](const char* what, auto function, uint32_t positions) {
        benchmark::RegisterBenchmark((std::string(what) + "/" + name + "/" +
                                      std::to_string(positions) + "/" + std::to_string(threads))
                                         .c_str(),
                                     function, type, positions, threads)
            ->UseRealTime();
      };
      add("decode", decode, 64);
      add("decode", decode, 512);
      add("decode", decode, 8192);
      add("prefill", prefill, 512);
      add("prefill", prefill, 4352);  // as deep as the mean row of a prefill of 8,192
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}

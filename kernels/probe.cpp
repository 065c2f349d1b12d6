#include "kernels/probe.h"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/os_machine.h"
#include "kernels/system_memory.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/probe.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/dot_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace quern::kernels::cpu::HWY_NAMESPACE {

// Enough independent chains to hide the latency of a multiply-add, few enough for 16 registers.
constexpr size_t kChains = 12;

// The compiler must take it that `memory` is read and changed here: it cannot move operations on it
// out of a loop, nor drop them.
template <typename Memory>
HWY_INLINE void touch(Memory& memory) {
  asm volatile("" : "+m"(memory));
}

#if HWY_TARGET == HWY_SCALAR

double RunInt8(size_t rounds) {
  int8_t operands[2 * kChains] = {};
  int32_t sums[kChains] = {};
  for (size_t round = 0; round < rounds; ++round) {
    touch(operands);
    for (size_t i = 0; i < kChains; ++i) sums[i] += operands[i] * operands[kChains + i];
  }
  touch(sums);
  return 2.0 * static_cast<double>(kChains * rounds);
}

#else

// The dot product that the matrix kernels use, on registers and a few cached bytes. An index pack
// makes sure that every chain is in a register of its own.
template <size_t... kChain>
double RunInt8Chains(size_t rounds, std::index_sequence<kChain...>) {
  // Loads are not what is measured: with VNNI chains share their codes. Without, the compiler would
  // then share products between chains.
  constexpr size_t kCodes = HWY_TARGET == HWY_AVX3_DL ? 2 : kChains;
  alignas(64) uint32_t weights[kPanelRows] = {};
  alignas(64) std::byte codes[4 * kChains] = {};
  touch(codes);
  const DI d;
  VI sums[] = {hn::Set(d, static_cast<int32_t>(kChain))...};
  for (size_t round = 0; round < rounds; ++round) {
    touch(weights);
    const V32 w = hn::Load(D32(), weights);
    ((sums[kChain] = DotQuads<false>(sums[kChain], w, Broadcast(codes + 4 * (kChain % kCodes)))),
     ...);
  }
  ((hn::Store(hn::BitCast(D32(), sums[kChain]), D32(), weights), touch(weights)), ...);
  return 8.0 * static_cast<double>(hn::Lanes(d) * kChains * rounds);  // 4 multiply-adds per lane
}

double RunInt8(size_t rounds) { return RunInt8Chains(rounds, std::make_index_sequence<kChains>()); }

#endif

// Chains of fused multiply-adds.
template <size_t... kChain>
double RunFp32Chains(size_t rounds, std::index_sequence<kChain...>) {
  namespace h = hwy::HWY_NAMESPACE;
  const h::ScalableTag<float> d;
  alignas(64) float operands[2][16] = {};
  h::Vec<decltype(d)> sums[] = {h::Set(d, static_cast<float>(kChain))...};
  for (size_t round = 0; round < rounds; ++round) {
    touch(operands);
    const auto a = h::Load(d, operands[0]);
    const auto b = h::Load(d, operands[1]);
    ((sums[kChain] = h::MulAdd(a, b, sums[kChain])), ...);
  }
  ((h::Store(sums[kChain], d, operands[0]), touch(operands)), ...);
  return 2.0 * static_cast<double>(h::Lanes(d) * kChains * rounds);
}

double RunFp32(size_t rounds) { return RunFp32Chains(rounds, std::make_index_sequence<kChains>()); }

// Reads `bytes`, a multiple of 1 KiB, as four streams side by side: a core can have more in flight
// than one sequential stream asks for.
void ReadAll(const std::byte* from, size_t bytes) {
  namespace h = hwy::HWY_NAMESPACE;
  const h::ScalableTag<uint64_t> d;
  constexpr size_t kStreams = 4, kVectors = 4;  // kVectors of one stream, then the next stream
  const size_t stream = bytes / kStreams / sizeof(uint64_t), lanes = h::Lanes(d);
  const auto* words = reinterpret_cast<const uint64_t*>(from);
  h::Vec<decltype(d)> seen[kStreams] = {};
  for (size_t i = 0; i < stream; i += kVectors * lanes) {
    for (size_t s = 0; s < kStreams; ++s) {
      for (size_t v = 0; v < kVectors; ++v) {
        seen[s] = h::Or(seen[s], h::Load(d, words + s * stream + i + v * lanes));
      }
    }
  }
  for (size_t s = 1; s < kStreams; ++s) seen[0] = h::Or(seen[0], seen[s]);
  alignas(64) uint64_t out[8];
  h::Store(seen[0], d, out);
  touch(out);
}

}  // namespace quern::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace quern::kernels {
namespace cpu {
HWY_EXPORT(RunInt8);
HWY_EXPORT(RunFp32);
HWY_EXPORT(ReadAll);
}  // namespace cpu

namespace {

using Work = std::function<void(size_t worker)>;

// Lets threads work at once, again and again.
class Team {
 public:
  enum class Place { kPinned, kAnywhere };  // the engine's threads are anywhere

  Team(size_t threads, double seconds, Place place = Place::kPinned)
      : seconds_(seconds),
        place_(place),
        processors_(usable_processors()),
        ends_(threads),
        barrier_(static_cast<ptrdiff_t>(threads), Next{this}) {
    times_.reserve(kMost);
  }

  // Seconds of the fastest of at least three passes: neighbours and interrupts only ever make a
  // pass slower. `prepare` comes first, on the same threads.
  double fastest(const Work& prepare, const Work& work) {
    return std::ranges::min(passes(prepare, work));
  }

  // Seconds of each pass.
  std::vector<double> passes(const Work& prepare, const Work& work) {
    std::vector<std::jthread> team;
    for (size_t worker = 0; worker < ends_.size(); ++worker) {
      team.emplace_back([&, worker] { run(worker, prepare, work); });
    }
    team.clear();  // joins
    return times_;
  }

  // Counts from 0 in each pass, for work that threads share as they come to it.
  size_t next_chunk() { return chunk_++; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kUncounted = 1, kLeast = 3;  // passes
  static constexpr size_t kMost = 4096;             // that are counted

  // Called between passes by one thread while the others wait.
  struct Next {
    Team* team;
    void operator()() noexcept { team->next(); }
  };

  void next() {
    if (++passes_ > kUncounted) {
      const std::chrono::duration<double> took = *std::ranges::max_element(ends_) - start_;
      if (times_.size() < kMost) times_.push_back(took.count());
      total_ += took.count();
    }
    chunk_ = 0;
    start_ = Clock::now();
  }

  void run(size_t worker, const Work& prepare, const Work& work) {
    if (place_ == Place::kPinned) {
      pin_this_thread(processors_[worker % processors_.size()]);  // no harm if it is refused
    }
    prepare(worker);
    barrier_.arrive_and_wait();
    while (passes_ < kUncounted + kLeast || total_ < seconds_) {
      work(worker);
      ends_[worker] = Clock::now();
      barrier_.arrive_and_wait();
    }
  }

  double seconds_;
  Place place_;
  std::vector<int> processors_;
  std::vector<Clock::time_point> ends_;  // by worker
  Clock::time_point start_;
  std::vector<double> times_;
  double total_ = 0;
  int passes_ = -1;
  std::atomic<size_t> chunk_{0};
  std::barrier<Next> barrier_;
};

constexpr size_t kReadUnit = 1024;    // ReadAll's
constexpr uint64_t kMemoryShare = 4;  // at most a quarter of what is available

// Bytes for each thread of `wanted`, as far as there is memory.
size_t reader_part(size_t threads, uint64_t wanted) {
  const auto memory = system_memory();
  const uint64_t bytes = std::min(wanted, memory ? memory->available / kMemoryShare : wanted);
  return bytes / threads / kReadUnit * kReadUnit;
}

// Every thread's part of a buffer. Pages exist, and lie near their reader, once it has written
// them.
Work write_parts(const PageBuffer& buffer, size_t part) {
  return [&buffer, part](size_t worker) { std::memset(buffer.data() + worker * part, 1, part); };
}
Work read_parts(const PageBuffer& buffer, size_t part) {
  return [&buffer, part](size_t worker) {
    HWY_DYNAMIC_DISPATCH(cpu::ReadAll)(buffer.data() + worker * part, part);
  };
}

// Bytes/s; 0 without memory.
double read_bandwidth(size_t threads, const ProbeEffort& effort) {
  const size_t part = reader_part(threads, effort.bytes);
  const PageBuffer buffer(part * threads);
  if (!buffer.data()) return 0;
  const double seconds =
      Team(threads, effort.seconds).fastest(write_parts(buffer, part), read_parts(buffer, part));
  return static_cast<double>(part * threads) / seconds;
}

// Operations/s of a function that does them and returns how many.
double compute_peak(size_t threads, const ProbeEffort& effort, double (*chains)(size_t)) {
  std::atomic<double> operations{0};  // of one thread
  const double seconds =
      Team(threads, effort.seconds)
          .fastest([](size_t) {}, [&](size_t) { operations = chains(effort.rounds); });
  return operations * static_cast<double>(threads) / seconds;
}

constexpr uint64_t kLookBytes = 256 << 20;
constexpr size_t kLookChunk = 1 << 20;

double run_int8(size_t rounds) { return HWY_DYNAMIC_DISPATCH(cpu::RunInt8)(rounds); }
double run_fp32(size_t rounds) { return HWY_DYNAMIC_DISPATCH(cpu::RunFp32)(rounds); }

}  // namespace

MemoryReader::MemoryReader(size_t threads)
    : threads_(threads > 0 ? threads : usable_processors().size()),
      part_(reader_part(threads_, kLookBytes)),
      buffer_(std::make_unique<PageBuffer>(part_ * threads_)) {
  if (buffer_->data()) {
    Team(threads_, 0).passes(write_parts(*buffer_, part_), [](size_t) {});
  }
}
MemoryReader::~MemoryReader() = default;

double MemoryReader::look(double seconds) const {
  if (!buffer_->data()) return 0;
  // As the engine's threads do: wherever there is room, and each reads as much as it comes to.
  Team team(threads_, seconds, Team::Place::kAnywhere);
  const size_t chunks = part_ * threads_ / kLookChunk;
  if (chunks == 0) return 0;
  const auto read = [&](size_t) {
    for (size_t i = team.next_chunk(); i < chunks; i = team.next_chunk()) {
      HWY_DYNAMIC_DISPATCH(cpu::ReadAll)(buffer_->data() + i * kLookChunk, kLookChunk);
    }
  };
  const std::vector<double> times = team.passes([](size_t) {}, read);
  const double total = std::accumulate(times.begin(), times.end(), 0.0);
  return static_cast<double>(chunks * kLookChunk * times.size()) / total;
}

MachineProfile probe(size_t threads, const ProbeEffort& effort) {
  if (threads == 0) threads = usable_processors().size();
  MachineProfile profile;
  profile.cpu = cpu_name();
  profile.threads = threads;
  profile.read_bandwidth_one = read_bandwidth(1, effort);
  profile.read_bandwidth_all =
      threads == 1 ? profile.read_bandwidth_one : read_bandwidth(threads, effort);
  profile.int8_peak = compute_peak(threads, effort, run_int8);
  profile.fp32_peak = compute_peak(threads, effort, run_fp32);
  return profile;
}

}  // namespace quern::kernels
#endif

#include "engine/load_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "gguf/read_ahead.h"
#include "gguf/validate.h"

namespace quern::engine {
namespace {

// Few enough bytes that all threads end soon after they are asked to, and so many chunks ahead that
// a disk always has something to read.
constexpr uint64_t kChunkBytes = 4 << 20;
constexpr size_t kChunksAhead = 8;

// Whole blocks of a weight, at most kChunkBytes.
struct Chunk {
  size_t weight;
  uint64_t begin, bytes;
  std::optional<uint64_t> corrupt = {};  // block, counted from the chunk's first
};

std::vector<Chunk> chunks_of(std::span<const gguf::TensorView> weights) {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < weights.size(); ++i) {
    const uint64_t size = weights[i].bytes.size(), block = info(weights[i].format).block_bytes;
    const uint64_t step = kChunkBytes / block * block;
    for (uint64_t begin = 0; begin < size; begin += step) {
      chunks.push_back({i, begin, std::min(step, size - begin)});
    }
  }
  return chunks;
}

}  // namespace

LoadProgress::LoadProgress(std::function<bool(double)> observer,
                           std::span<const gguf::TensorView> weights, uint64_t passes)
    : observer_(std::move(observer)) {
  for (const gguf::TensorView& weight : weights) total_ += passes * weight.bytes.size();
}

bool LoadProgress::report() {
  const double part = static_cast<double>(done_) / static_cast<double>(std::max(total_, done_ + 1));
  if (observer_ && !observer_(part)) stopped_ = true;
  return !stopped_;
}

Status check_weights(const gguf::File& file, std::span<const gguf::TensorView> weights,
                     size_t threads, bool keep, LoadProgress& progress) {
  std::vector<Chunk> chunks = chunks_of(weights);
  const auto bytes = [&](const Chunk& chunk) {
    return weights[chunk.weight].bytes.subspan(chunk.begin, chunk.bytes);
  };
  std::atomic<size_t> next{0};
  const auto work = [&](bool loads) {
    for (size_t i = next++; i < chunks.size() && !progress.stopped(); i = next++) {
      if (i + kChunksAhead < chunks.size()) gguf::read_ahead(bytes(chunks[i + kChunksAhead]));
      gguf::TensorView part = weights[chunks[i].weight];
      part.bytes = bytes(chunks[i]);
      chunks[i].corrupt = gguf::find_corrupt_block(part);
      if (!keep) file.release(part.bytes);
      progress.add(part.bytes.size());
      if (loads) progress.report();
    }
  };
  if (progress.report()) {
    std::vector<std::jthread> others;
    for (size_t i = 1; i < threads; ++i) others.emplace_back(work, false);
    work(true);
  }
  if (!progress.report()) return fail(ErrorKind::kCancelled, "cancelled", "stopped");
  const auto bad =
      std::ranges::find_if(chunks, [](const Chunk& c) { return c.corrupt.has_value(); });
  if (bad == chunks.end()) return {};
  const gguf::TensorView& tensor = weights[bad->weight];
  return bad_input("weights-corrupt",
                   fmt::format("tensor {}: block {} has a scale that is NaN or infinite; the file "
                               "is damaged",
                               escape(tensor.name),
                               bad->begin / info(tensor.format).block_bytes + *bad->corrupt));
}

}  // namespace quern::engine

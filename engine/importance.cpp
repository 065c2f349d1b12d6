#include "engine/importance.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gguf/writer.h"

namespace quern::engine {
namespace {

constexpr std::string_view kSquares = ".in_sum2";
constexpr std::string_view kCounts = ".counts";

Status refuse(const gguf::File& file, const std::string& message) {
  auto error = bad_input("imatrix", message);
  error.value().path = file.path();
  return error;
}

std::vector<float> floats(const gguf::TensorView& tensor) {
  std::vector<float> values(tensor.elements());
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

bool all_valid(std::span<const float> values) {
  for (const float v : values) {
    if (!std::isfinite(v) || v < 0) return false;
  }
  return true;
}

std::vector<std::byte> bytes_of(std::span<const float> values) {
  const auto bytes = std::as_bytes(values);
  return {bytes.begin(), bytes.end()};
}

uint32_t number(const gguf::File& file, std::string_view key) {
  const gguf::Value* value = file.find(key);
  return static_cast<uint32_t>(value ? value->as_u64().value_or(0) : 0);
}

}  // namespace

Result<Importance> Importance::read(const std::string& path) {
  QUERN_TRY(const gguf::File file, gguf::File::open(path));
  Importance result;
  for (const gguf::TensorView& squares : file.tensors()) {
    if (!squares.name.ends_with(kSquares)) continue;
    const std::string name(squares.name.substr(0, squares.name.size() - kSquares.size()));
    const gguf::TensorView* counts = file.find_tensor(name + std::string(kCounts));
    if (!counts || counts->format != gguf::Format::F32 || squares.format != gguf::Format::F32 ||
        counts->elements() != squares.rows()) {
      return tl::unexpected(
          refuse(file, fmt::format("the counts of {} do not fit its sums", escape(name))).error());
    }
    Sums sums{squares.row_values(), floats(squares), floats(*counts)};
    if (!all_valid(sums.squares) || !all_valid(sums.counts)) {
      return tl::unexpected(
          refuse(file, fmt::format("{} has sums that are negative or no numbers", escape(name)))
              .error());
    }
    result.tensors.emplace(name, std::move(sums));
  }
  if (result.tensors.empty()) {
    return tl::unexpected(refuse(file, "there are no importance data in this file").error());
  }
  result.chunks = number(file, "imatrix.chunk_count");
  result.chunk_size = number(file, "imatrix.chunk_size");
  QUERN_CHECK(file.check_unchanged());
  return result;
}

Status Importance::write(const std::string& path, const std::string& dataset) const {
  gguf::Writer writer;
  writer.set("general.type", std::string("imatrix"));
  writer.set("imatrix.datasets", std::vector<std::string>{dataset});
  writer.set("imatrix.chunk_count", chunks);
  writer.set("imatrix.chunk_size", chunk_size);
  for (const auto& [name, sums] : tensors) {
    const uint64_t matrices = sums.counts.size();
    writer.add_tensor(name + std::string(kSquares), gguf::Format::F32, {sums.columns, matrices},
                      bytes_of(sums.squares));
    writer.add_tensor(name + std::string(kCounts), gguf::Format::F32, {1, matrices},
                      bytes_of(sums.counts));
  }
  return writer.write(path);
}

std::vector<float> Importance::of(std::string_view tensor, uint64_t matrix) const {
  const auto found = tensors.find(tensor);
  if (found == tensors.end()) return {};
  const Sums& sums = found->second;
  if (matrix >= sums.counts.size() || !(sums.counts[matrix] > 0)) return {};
  const auto first = sums.squares.begin() + static_cast<ptrdiff_t>(matrix * sums.columns);
  std::vector<float> mean(first, first + static_cast<ptrdiff_t>(sums.columns));
  for (float& v : mean) v /= sums.counts[matrix];
  return mean;
}

ImportanceCollector::ImportanceCollector(std::span<const gguf::TensorView> weights) {
  for (const gguf::TensorView& tensor : weights) {
    const uint64_t matrices = tensor.shape[2] * tensor.shape[3];
    entries_.emplace(tensor.name, Entry{std::vector<double>(matrices * tensor.row_values()),
                                        std::vector<double>(matrices), tensor.row_values()});
  }
}

void ImportanceCollector::add(std::string_view weight, size_t expert, std::span<const float> rows,
                              size_t values) {
  const auto found = entries_.find(weight);
  if (found == entries_.end()) return;
  double* squares = &found->second.squares[expert * values];
  for (size_t i = 0; i < rows.size(); ++i) {
    squares[i % values] += static_cast<double>(rows[i]) * rows[i];
  }
  const size_t count = rows.size() / values;
  found->second.counts[expert] += static_cast<double>(count);
}

Importance ImportanceCollector::result() const {
  Importance importance;
  for (const auto& [name, entry] : entries_) {
    if (std::ranges::all_of(entry.counts, [](double count) { return count == 0; })) continue;
    importance.tensors[name] = {entry.columns,
                                {entry.squares.begin(), entry.squares.end()},
                                {entry.counts.begin(), entry.counts.end()}};
  }
  return importance;
}

}  // namespace quern::engine

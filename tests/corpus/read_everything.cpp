#include <bit>
#include <stdexcept>

#include "tests/corpus/corpus.h"

namespace quern::test {
namespace {

// FNV-1a: any function that depends on every byte would do.
struct Digest {
  uint64_t state = 0xcbf29ce484222325;
  void add(uint64_t value) { state = (state ^ value) * 0x100000001b3; }
  void add(std::string_view text) {
    for (const char c : text) add(static_cast<uint8_t>(c));
  }
  void add(std::span<const std::byte> bytes) {
    for (const std::byte b : bytes) add(std::to_integer<uint64_t>(b));
  }
};

void require(bool promise) {
  if (!promise) throw std::logic_error("File broke a promise");
}

void read_value(const gguf::Value& value, Digest& digest) {
  digest.add(value.as_u64().value_or(1));
  digest.add(static_cast<uint64_t>(value.as_i64().value_or(2)));
  digest.add(std::bit_cast<uint64_t>(value.as_f64().value_or(3)));
  digest.add(value.as_bool().value_or(false));
  digest.add(value.as_string().value_or("none"));
  digest.add(value.bytes());
  for (size_t i = 0; i <= value.size(); ++i) {  // one past the end must be nullopt, not a crash
    digest.add(value.u64_at(i).value_or(1));
    digest.add(static_cast<uint64_t>(value.i64_at(i).value_or(2)));
    digest.add(std::bit_cast<uint64_t>(value.f64_at(i).value_or(3)));
    digest.add(value.bool_at(i).value_or(false));
    digest.add(value.string_at(i).value_or("none"));
  }
}

}  // namespace

uint64_t read_everything(const gguf::File& file) {
  Digest digest;
  for (const gguf::MetadataEntry& entry : file.metadata()) {
    digest.add(entry.key);
    read_value(entry.value, digest);
    require(file.find(entry.key) == &entry.value);
    digest.add(escape(file.text(entry.key)));
  }
  for (const gguf::TensorView& tensor : file.tensors()) {
    digest.add(tensor.name);
    require(tensor.row_bytes() * tensor.rows() == tensor.bytes.size());
    digest.add(tensor.bytes);
    require(file.find_tensor(tensor.name) == &tensor);
  }
  for (const gguf::NumberTensorView& tensor : file.number_tensors()) {
    digest.add(tensor.name);
    require(tensor.elements() * info(tensor.type).bytes == tensor.bytes.size());
    digest.add(tensor.bytes);
    require(file.find_number_tensor(tensor.name) == &tensor);
  }
  uint64_t size = 0;
  for (const auto& part : file.parts()) size += part.bytes.size();
  require(size == file.size_bytes());
  for (const std::string& warning : file.warnings()) digest.add(warning);
  return digest.state;
}

}  // namespace quern::test

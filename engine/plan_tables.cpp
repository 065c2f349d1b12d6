#include "engine/plan_tables.h"

#include <algorithm>
#include <bit>
#include <variant>

#include "engine/tokenizer/merge_rules.h"
#include "engine/tokenizer/vocabulary.h"

namespace quern::engine {
namespace {

// What malloc takes for `bytes`: a header of 8, multiples of 16.
uint64_t chunk(uint64_t bytes) { return std::max<uint64_t>(32, (bytes + 8 + 15) / 16 * 16); }

// A vector that grew one element at a time.
uint64_t grown(uint64_t elements, uint64_t size) {
  return elements == 0 ? 0 : chunk(std::bit_ceil(elements) * size);
}

// The part of an assigned std::string outside the object: up to 15 characters lie inside, and its
// capacity at least doubles.
uint64_t text_bytes(uint64_t size) {
  return size > 15 ? chunk(std::max<uint64_t>(size, 30) + 1) : 0;
}

uint64_t index_bytes(uint64_t items) { return chunk(items * 16); }  // gguf::NameIndex

uint64_t array_size(const gguf::File& file, std::string_view key) {
  const gguf::Value* value = file.find(key);
  return value ? value->size() : 0;
}

// A node of the automaton that finds special tokens, see SpecialTokens.
constexpr uint64_t kSpecialNode = 24;
// Paths, warnings and the objects that hold the tables.
constexpr uint64_t kFileBytes = 16 << 10;
// The compiled splitting pattern: Unicode classes, machine code; symbols of single bytes that are
// no tokens. (Sound files have no other texts in merges that are no tokens.)
constexpr uint64_t kPatternBytes = 256 << 10;
// A parsed template: syntax tree and special texts, per byte of its source.
constexpr uint64_t kTemplateFactor = 48;

}  // namespace

uint64_t file_table_bytes(const gguf::File& file) {
  const uint64_t entries = file.metadata().size(), tensors = file.tensors().size();
  const uint64_t numbers = file.number_tensors().size();
  uint64_t bytes = kFileBytes + grown(entries, sizeof(gguf::MetadataEntry)) + index_bytes(entries) +
                   grown(tensors, sizeof(gguf::TensorView)) + index_bytes(tensors) +
                   grown(numbers, sizeof(gguf::NumberTensorView)) + index_bytes(numbers);
  for (const gguf::MetadataEntry& entry : file.metadata()) {
    const bool strings = entry.value.type() == gguf::ValueType::kArray &&
                         entry.value.element_type() == gguf::ValueType::kString;
    if (strings) bytes += chunk(entry.value.size() * sizeof(uint64_t));
  }
  return bytes;
}

uint64_t tokenizer_bytes(const gguf::File& file) {
  const uint64_t template_bytes = kTemplateFactor * file.text("tokenizer.chat_template").size();
  const gguf::Value* tokens = file.find("tokenizer.ggml.tokens");
  const std::string_view model = file.text("tokenizer.ggml.model");
  const bool has_merges = model == "gpt2" || model == "gemma4";
  if (!tokens || (model != "llama" && !has_merges)) return template_bytes;

  const gguf::Value* types = file.find("tokenizer.ggml.token_type");
  const uint64_t count = tokens->size();
  uint64_t texts = 0, special = 1;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t size = tokens->string_at(i).value_or("").size();
    texts += text_bytes(size);
    if (types && types->i64_at(i) != static_cast<int64_t>(TokenType::kNormal)) special += size;
  }
  uint64_t bytes = template_bytes + chunk(count * sizeof(Token)) + texts +
                   chunk(TextIndex::bytes_for(count)) + 2 * grown(special, kSpecialNode);
  if (has_merges) {
    const uint64_t merges = array_size(file, "tokenizer.ggml.merges");
    bytes += chunk(MergeTable::bytes_for(merges)) + kPatternBytes;
  }
  return bytes;
}

uint64_t model_bytes(const Model& model) {
  const kernels::Program& program = model.program;
  uint64_t copy = grown(program.weights.size(), sizeof(kernels::WeightInfo)) +
                  grown(program.ops.size(), sizeof(kernels::Op)) +
                  grown(program.layers.size(), sizeof(kernels::Heads)) +
                  grown(model.weights.size(), sizeof(gguf::TensorView)) +
                  grown(program.weights.size(), sizeof(size_t));  // offsets of norms and biases
  for (const kernels::WeightInfo& weight : program.weights) copy += text_bytes(weight.name.size());
  for (const kernels::Op& op : program.ops) {
    const auto* projection = std::get_if<kernels::Projection>(&op);
    if (projection) copy += grown(projection->outputs.size(), sizeof(kernels::Linear));
  }
  return 2 * copy;
}

uint64_t thread_bytes(size_t threads) {
  constexpr uint64_t kEach = 64 << 10;
  return (threads - 1) * kEach;  // the main thread is part of the process
}

}  // namespace quern::engine

// Tokenizers under arbitrary text, arbitrary ids and arbitrary vocabularies: ids stay in range,
// text comes back, errors are one line.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/tokenizer/small_vocabulary.h"

namespace quern {
namespace {

using engine::Tokenizer;
using gguf::Writer;

void require(bool condition) {
  if (!condition) std::abort();
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// What byte-level BPE makes of malformed UTF-8.
std::string without_malformed(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const auto c = engine::utf8::decode(text, i);
    engine::utf8::append(out, c.code);
    i += c.length;
  }
  return out;
}

// Every way to encode `text`, and all ids back to text.
void exercise(const Tokenizer& tokenizer, const std::string& text) {
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.encode(text, special, special);
    for (const int32_t id : ids) require(id >= 0 && static_cast<size_t>(id) < tokenizer.size());
    tokenizer.decode(ids, special);
  }
  tokenizer.encode_rendered(text);
}

void check_text(FuzzedDataProvider& data) {
  static const Tokenizer spm = test::tokenizer_of(test::sentence_piece_writer(false));
  static const std::vector<Tokenizer> bpe = [] {
    std::vector<Tokenizer> out;
    for (const auto& row : engine::pretokenizer_table()) {
      if (row.has(engine::kCharacters)) continue;  // loses what the vocabulary lacks
      const std::string name(row.names.substr(0, row.names.find(' ')));
      out.push_back(test::tokenizer_of(test::byte_level_writer(name)));
    }
    return out;
  }();
  const size_t which = data.ConsumeIntegralInRange<size_t>(0, bpe.size());
  const std::string text = data.ConsumeRemainingBytesAsString();
  const Tokenizer& tokenizer = which < bpe.size() ? bpe[which] : spm;
  exercise(tokenizer, text);
  const std::string back = tokenizer.decode(tokenizer.encode(text, true, true), true);
  if (which < bpe.size()) {
    // With bos in front where the model adds it.
    const bool bos = tokenizer.vocabulary().add_bos();
    require(back == (bos ? "<s>" : "") + without_malformed(text));
  } else {
    // SentencePiece cannot tell U+2581 from a space.
    require(replace_all(back, test::kSpace, " ") == "<s>" + replace_all(text, test::kSpace, " "));
  }
}

void check_ids(FuzzedDataProvider& data) {
  static const Tokenizer tokenizer = test::tokenizer_of(test::sentence_piece_writer());
  std::vector<int32_t> ids;
  while (data.remaining_bytes() > 0)
    ids.push_back(data.ConsumeIntegral<int32_t>() >> data.ConsumeIntegralInRange(0, 31));
  std::string pieces;
  for (const int32_t id : ids) pieces += tokenizer.piece(id, true);
  const std::string whole = tokenizer.decode(ids, true);
  require(whole == pieces || " " + whole == pieces);
}

Writer::Scalar some_scalar(FuzzedDataProvider& data) {
  switch (data.ConsumeIntegralInRange(0, 5)) {
    case 0:
      return data.ConsumeIntegral<uint32_t>();
    case 1:
      return data.ConsumeIntegral<int64_t>();
    case 2:
      return data.ConsumeBool();
    case 3:
      return data.ConsumeFloatingPoint<float>();
    case 4:
      return data.ConsumeRandomLengthString(8);
    default:
      return uint32_t{data.ConsumeIntegral<uint8_t>()};
  }
}

Writer::Array some_array(FuzzedDataProvider& data, size_t size) {
  if (data.ConsumeIntegralInRange(0, 7) == 0) size = data.ConsumeIntegralInRange<size_t>(0, 40);
  std::vector<std::string> strings(size);
  std::vector<float> floats(size);
  std::vector<int32_t> integers(size);
  switch (data.ConsumeIntegralInRange(0, 2)) {
    case 0:
      for (auto& s : strings) s = data.ConsumeRandomLengthString(6);
      return strings;
    case 1:
      for (float& f : floats) f = static_cast<float>(data.ConsumeIntegral<int8_t>());
      return floats;
    default:
      for (int32_t& i : integers) i = data.ConsumeIntegral<int8_t>() % 10;
      return integers;
  }
}

void check_vocabulary(FuzzedDataProvider& data) {
  Writer writer = data.ConsumeBool()
                      ? test::sentence_piece_writer()
                      : test::byte_level_writer(data.ConsumeBool() ? "gpt-2" : "gemma4");
  const size_t tokens = data.ConsumeIntegralInRange<size_t>(1, 40);
  const char* const arrays[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.scores",
                                "tokenizer.ggml.token_type", "tokenizer.ggml.merges"};
  const char* const scalars[] = {"tokenizer.ggml.model",
                                 "tokenizer.ggml.pre",
                                 "tokenizer.ggml.bos_token_id",
                                 "tokenizer.ggml.eos_token_id",
                                 "tokenizer.ggml.add_bos_token",
                                 "tokenizer.ggml.add_eos_token",
                                 "general.name",
                                 "tokenizer.ggml.add_space_prefix",
                                 "tokenizer.ggml.unknown_token_id"};
  for (const char* key : arrays) {
    if (data.ConsumeBool()) writer.set(key, some_array(data, tokens));
  }
  for (const char* key : scalars) {
    if (data.ConsumeIntegralInRange(0, 3) == 0) writer.set(key, some_scalar(data));
  }
  const auto tokenizer = test::read_written<Tokenizer>(writer);
  if (!tokenizer) {
    require(tokenizer.error().to_string().find('\n') == std::string::npos);
    return;
  }
  exercise(*tokenizer, data.ConsumeRemainingBytesAsString());
  for (int32_t id = -1; id <= static_cast<int32_t>(tokenizer->size()); ++id) tokenizer->piece(id);
}

}  // namespace
}  // namespace quern

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  FuzzedDataProvider data(bytes, size);
  switch (data.ConsumeIntegralInRange(0, 4)) {
    case 0:
      quern::check_vocabulary(data);
      break;
    case 1:
      quern::check_ids(data);
      break;
    default:
      quern::check_text(data);
  }
  return 0;
}

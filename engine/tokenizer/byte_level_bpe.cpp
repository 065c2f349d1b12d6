#include "engine/tokenizer/byte_level_bpe.h"

#include "engine/tokenizer/byte_map.h"
#include "engine/tokenizer/normalize.h"
#include "engine/tokenizer/pieces.h"
#include "engine/utf8.h"

namespace quern::engine {
namespace {

std::string characters_of(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) utf8::append(out, byte_to_character(static_cast<uint8_t>(c)));
  return out;
}

}  // namespace

ByteLevelBpe::ByteLevelBpe(const Vocabulary& vocabulary, TextSplitter splitter, MergeRules rules)
    : vocabulary_(&vocabulary),
      splitter_(std::move(splitter)),
      ignore_merges_(find_pretokenizer(vocabulary.pretokenizer())->has(kIgnoreMerges)),
      rules_(std::move(rules)) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char self = static_cast<char>(byte);
    byte_symbols_[byte] = rules_.find_symbol(characters_of({&self, 1}));
  }
}

Result<ByteLevelBpe> ByteLevelBpe::from_file(const gguf::File& file, const Vocabulary& vocabulary) {
  QUERN_TRY(MergeRules rules, MergeRules::from_file(file, vocabulary));
  QUERN_TRY(TextSplitter splitter,
            TextSplitter::make(*find_pretokenizer(vocabulary.pretokenizer())));
  return ByteLevelBpe(vocabulary, std::move(splitter), std::move(rules));
}

void ByteLevelBpe::encode(std::string_view text, std::vector<int32_t>& ids) const {
  std::string storage;
  text = without_malformed(text, storage);
  encode_pieces(splitter_, text, ids, [&](std::string_view piece, PairMerger& merger) {
    encode_piece(piece, merger, ids);
  });
}

void ByteLevelBpe::encode_piece(std::string_view piece, PairMerger& merger,
                                std::vector<int32_t>& ids) const {
  if (ignore_merges_ && piece.size() <= vocabulary_->longest_text()) {
    if (const auto id = vocabulary_->find(characters_of(piece))) return ids.push_back(*id);
  }
  merger.clear();
  for (size_t i = 0; i < piece.size(); ++i) {
    merger.add(static_cast<uint32_t>(i), 1, byte_symbols_[static_cast<uint8_t>(piece[i])]);
  }
  merger.merge([&](const Symbol& left, const Symbol& right) { return rules_.find(left, right); });
  for (const Symbol& symbol : merger.symbols()) {
    if (symbol.size > 0) append_symbol(piece.substr(symbol.begin, symbol.size), symbol.id, ids);
  }
}

// A symbol that is no token falls apart into its bytes; a byte that is no token is lost.
void ByteLevelBpe::append_symbol(std::string_view bytes, uint32_t symbol,
                                 std::vector<int32_t>& ids) const {
  if (const auto id = rules_.token_of(symbol)) return ids.push_back(*id);
  for (const char c : bytes) {
    if (const auto id = rules_.token_of(byte_symbols_[static_cast<uint8_t>(c)])) ids.push_back(*id);
  }
}

}  // namespace quern::engine

#include "engine/tokenizer/character_bpe.h"

#include <fmt/format.h>

#include "engine/tokenizer/normalize.h"
#include "engine/tokenizer/pieces.h"
#include "engine/utf8.h"

namespace quern::engine {

CharacterBpe::CharacterBpe(const Vocabulary& vocabulary, TextSplitter splitter, MergeRules rules)
    : vocabulary_(&vocabulary),
      splitter_(std::move(splitter)),
      whole_line_ends_(find_pretokenizer(vocabulary.pretokenizer())->has(kWholeLineEnds)),
      rules_(std::move(rules)) {
  for (unsigned byte = 0; byte < 256; ++byte) {
    byte_ids_[byte] = vocabulary.find(fmt::format("<0x{:02X}>", byte));
  }
}

Result<CharacterBpe> CharacterBpe::from_file(const gguf::File& file, const Vocabulary& vocabulary) {
  QUERN_TRY(MergeRules rules, MergeRules::from_file(file, vocabulary));
  QUERN_TRY(TextSplitter splitter,
            TextSplitter::make(*find_pretokenizer(vocabulary.pretokenizer())));
  return CharacterBpe(vocabulary, std::move(splitter), std::move(rules));
}

void CharacterBpe::encode(std::string_view text, std::vector<int32_t>& ids) const {
  std::string valid, spaced;
  text = without_malformed(text, valid);
  if (vocabulary_->has_space_symbols()) text = spaced = with_space_symbols(text, false);
  encode_pieces(splitter_, text, ids, [&](std::string_view piece, PairMerger& merger) {
    encode_piece(piece, merger, ids);
  });
}

void CharacterBpe::encode_piece(std::string_view piece, PairMerger& merger,
                                std::vector<int32_t>& ids) const {
  if (whole_line_ends_ && piece.find_first_not_of('\n') == piece.npos) {
    if (const auto id = vocabulary_->find(piece)) return ids.push_back(*id);
  }
  merger.clear();
  for (size_t i = 0; i < piece.size();) {
    const uint32_t size = utf8::decode(piece, i).length;
    merger.add(static_cast<uint32_t>(i), size, rules_.find_symbol(piece.substr(i, size)));
    i += size;
  }
  merger.merge([&](const Symbol& left, const Symbol& right) { return rules_.find(left, right); });
  for (const Symbol& symbol : merger.symbols()) {
    if (symbol.size == 0) continue;
    if (const auto id = rules_.token_of(symbol.id)) {
      ids.push_back(*id);
      continue;
    }
    for (const char c : piece.substr(symbol.begin, symbol.size)) {
      if (const auto id = byte_ids_[static_cast<uint8_t>(c)]) ids.push_back(*id);
    }
  }
}

}  // namespace quern::engine

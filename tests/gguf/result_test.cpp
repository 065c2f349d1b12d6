#include "gguf/result.h"

#include <gtest/gtest.h>

namespace quern {
namespace {

TEST(Escape, keepsPrintableUtf8) {
  EXPECT_EQ(escape("token_embd.weight"), "\"token_embd.weight\"");
  EXPECT_EQ(escape("größe ☃ 😀"), "\"größe ☃ 😀\"");
  EXPECT_EQ(escape(""), "\"\"");
}

TEST(Escape, makesControlCharactersHarmless) {
  EXPECT_EQ(escape("a\nb\x1b[2J\x7f"), "\"a\\x0Ab\\x1B[2J\\x7F\"");
  EXPECT_EQ(escape(std::string_view("\0", 1)), "\"\\x00\"");
  EXPECT_EQ(escape("\u009b1m"), "\"\\xC2\\x9B1m\"");         // C1: CSI in one character
  EXPECT_EQ(escape("\u202Egnp"), "\"\\xE2\\x80\\xAEgnp\"");  // right-to-left override
}

TEST(Escape, marksQuotesAndBackslashesSoThatTheTextIsUnambiguous) {
  EXPECT_EQ(escape("a\"b\\x"), "\"a\\x22b\\x5Cx\"");
}

TEST(Escape, writesInvalidUtf8AsHex) {
  EXPECT_EQ(escape("\xff"), "\"\\xFF\"");
  EXPECT_EQ(escape("\xC0\xAF"), "\"\\xC0\\xAF\"");                    // overlong /
  EXPECT_EQ(escape("\xE0\x80\x80"), "\"\\xE0\\x80\\x80\"");           // overlong
  EXPECT_EQ(escape("\xED\xA0\x80"), "\"\\xED\\xA0\\x80\"");           // surrogate
  EXPECT_EQ(escape("\xF4\x90\x80\x80"), "\"\\xF4\\x90\\x80\\x80\"");  // above U+10FFFF
  EXPECT_EQ(escape("ok\xE2\x98"), "\"ok\\xE2\\x98\"");                // ends inside a character
}

TEST(Escape, cutsAtTheLimitButNotInsideACharacter) {
  EXPECT_EQ(escape("abcdef", 3), "\"abc…\"");
  EXPECT_EQ(escape("abcdef", 6), "\"abcdef\"");
  EXPECT_EQ(escape("ab☃☃", 6), "\"ab☃…\"");
  EXPECT_EQ(escape(std::string(65, 'x')), '"' + std::string(64, 'x') + "…\"");
}

TEST(Error, isOneLineWithPathAndOffset) {
  Error error{ErrorKind::kBadInput, "magic", "not a GGUF file", "m.gguf", {}, {}, {}, {}};
  EXPECT_EQ(error.to_string(), "m.gguf: not a GGUF file");
  error.offset = 12;
  EXPECT_EQ(error.to_string(), "m.gguf: not a GGUF file at byte 12");
  error.path = "two\nlines";
  EXPECT_EQ(error.to_string(), "\"two\\x0Alines\": not a GGUF file at byte 12");
}

TEST(Result, macrosPassErrorsOn) {
  const auto half = [](int n) -> Result<int> {
    if (n % 2) return bad_input("odd", "odd number");
    return n / 2;
  };
  const auto quarter = [&](int n) -> Result<int> {
    QUERN_TRY(const int h, half(n));
    QUERN_CHECK(half(h));
    return h / 2;
  };
  EXPECT_EQ(quarter(12).value(), 3);
  EXPECT_EQ(quarter(6).error().code, "odd");
  EXPECT_EQ(quarter(5).error().message, "odd number");
}

}  // namespace
}  // namespace quern

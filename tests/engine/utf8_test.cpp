#include "engine/utf8.h"

#include <gtest/gtest.h>

namespace quern::engine::utf8 {
namespace {

TEST(Utf8, decodesEveryLength) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80";
  const char32_t expected[] = {'a', 0xE9, 0x20AC, 0x1F600};
  size_t i = 0;
  for (const char32_t code : expected) {
    const Character c = decode(text, i);
    EXPECT_TRUE(c.valid);
    EXPECT_EQ(c.code, code);
    i += c.length;
  }
  EXPECT_EQ(i, text.size());
}

TEST(Utf8, rejectsOverlongSurrogateAndTooLarge) {
  for (const std::string text :
       {"\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF"}) {
    const Character c = decode(text, 0);
    EXPECT_FALSE(c.valid);
    EXPECT_EQ(c.length, 1u);
  }
}

TEST(Utf8, appendIsTheInverseOfDecode) {
  for (char32_t code = 0; code <= 0x10FFFF; code += code < 0x3000 ? 1 : 257) {
    if (code >= 0xD800 && code < 0xE000) continue;
    std::string text;
    append(text, code);
    ASSERT_EQ(decode(text, 0).code, code);
    ASSERT_EQ(decode(text, 0).length, text.size());
  }
}

TEST(Utf8Stream, holdsBackIncompleteCharacters) {
  Stream stream;
  EXPECT_EQ(stream.push("a\xE2\x82"), "a");
  EXPECT_EQ(stream.push("\xAC!"), "\xE2\x82\xAC!");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Utf8Stream, replacesMalformedBytesAtOnceAndTheTailAtTheEnd) {
  Stream stream;
  EXPECT_EQ(stream.push("\x80z"), "\xEF\xBF\xBDz");
  EXPECT_EQ(stream.push("\xF0\x9F"), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

}  // namespace
}  // namespace quern::engine::utf8

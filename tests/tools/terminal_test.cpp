#include "tools/terminal.h"

#include <gtest/gtest.h>

namespace quern::tools {
namespace {

TEST(Terminal, printableTextCannotSendCommands) {
  EXPECT_EQ(printable("a\tb\nc"), "a\tb\nc");
  EXPECT_EQ(printable("\x1B[2J\x07\r\x7F"), "\\x1B[2J\\x07\\x0D\\x7F");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m"),
            "\\x9B31m");  // the one-character form of ESC [
  EXPECT_EQ(printable("Gr\xC3\xBC\xC3\x9F"
                      "e \xF0\x9F\x98\x80"),
            "Gr\xC3\xBC\xC3\x9F"
            "e \xF0\x9F\x98\x80");
  EXPECT_EQ(printable("a\xFF"
                      "b\xE2\x82"),
            "a\xEF\xBF\xBD"
            "b\xEF\xBF\xBD\xEF\xBF\xBD");
}

}  // namespace
}  // namespace quern::tools

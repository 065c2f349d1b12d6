#include "gguf/result.h"

#include <cstdio>

namespace quern {

std::string Error::to_string() const {
  std::string line;
  if (!path.empty()) line += path + ": ";
  line += message;
  if (offset) line += " at byte " + std::to_string(*offset);
  return line;
}

}  // namespace quern

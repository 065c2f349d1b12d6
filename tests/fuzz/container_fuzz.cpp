// Opens arbitrary bytes as a GGUF file and reads everything of what is accepted.
#include <span>

#include "gguf/file.h"
#include "tests/corpus/corpus.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = quern::gguf::File::from_bytes(std::as_bytes(std::span(data, size)), "fuzz");
  if (file) quern::test::read_everything(*file);
  return 0;
}

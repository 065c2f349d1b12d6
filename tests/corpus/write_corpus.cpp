// Writes the corpus of malformed files into a folder: write_corpus FOLDER. For fuzzer seeds and for
// trying other programs on it; the tests make the same files in memory.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/corpus/corpus.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_corpus FOLDER\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  const auto files = quern::test::corpus();
  for (const auto& file : files) {
    std::ofstream out(folder / (file.name + ".gguf"), std::ios::binary);
    out.write(reinterpret_cast<const char*>(file.bytes.data()),
              static_cast<std::streamsize>(file.bytes.size()));
  }
  std::printf("%zu files\n", files.size());
}

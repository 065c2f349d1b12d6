// The corpus of malformed GGUF files: made in memory, the same on every machine.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "gguf/file.h"
#include "tests/corpus/raw_file.h"

namespace quern::test {

struct CorpusFile {
  std::string name;  // also a good file name
  std::vector<std::byte> bytes;
  std::string code;     // of the error that must be reported; empty: accepting it is right too
  std::string message;  // the complete message; empty: not compared
};

// Small valid files that together use every part of the format: scalars of every type, nested and
// string arrays, tensors of several types, an unusual alignment, a file without tensors.
const std::vector<RawFile>& seeds();

// Every row of the table of checks (docs/gguf.md) that one file can violate: at least one file
// each.
std::vector<CorpusFile> check_table();

// What broke other engines: sums and products that wrap, counts that cannot be true.
std::vector<CorpusFile> known_attacks();

// Every number of every seed's header set to boundary values, one at a time.
std::vector<CorpusFile> boundary_values();

// All of the above.
std::vector<CorpusFile> corpus();

// Reads every value and every byte that an opened file offers; what it returns depends on all of
// them. A sanitizer or a crash tells when the file promised something that is not there; throws
// std::logic_error when what it promises is inconsistent.
uint64_t read_everything(const gguf::File& file);

}  // namespace quern::test

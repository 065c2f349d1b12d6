// Models split over several files: NAME-00001-of-00003.gguf and so on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "gguf/part.h"

namespace quern::gguf {

struct SplitKeys {
  uint64_t count = 1;    // parts; 1: not split
  uint64_t number = 0;   // of this part, from 0
  uint64_t tensors = 0;  // in all parts together
};

// What a part says about itself. Errors: "key-type", "split-count", "split-missing-key",
// "split-no".
Result<SplitKeys> read_split_keys(const Part& part);

// The paths of all parts, derived from the path of one of them. Error: "split-name".
Result<std::vector<std::string>> split_paths(const std::string& path, const SplitKeys& keys);

// Checks that the parts are all parts of one model, in order. Errors: those of read_split_keys,
// "split-tensors".
Status check_parts(std::span<const Part> parts);

}  // namespace quern::gguf

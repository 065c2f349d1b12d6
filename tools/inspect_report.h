// What `quern inspect` says about a file, as text for people and as JSON
// (docs/inspect-schema.json).
#pragma once

#include <string>
#include <vector>

#include "gguf/file.h"

namespace quern::tools {

struct ReportOptions {
  bool tensors = false;              // text: list every tensor (JSON always does)
  bool arrays = false;               // show all elements of long arrays
  std::vector<std::string> digests;  // SHA-256 of each part in hex; empty: not shown
};

std::string text_report(const gguf::File& file, const ReportOptions& options);

// Valid JSON in ASCII whatever the file holds; bytes that are not UTF-8 become U+FFFD.
std::string json_report(const gguf::File& file, const ReportOptions& options);

}  // namespace quern::tools

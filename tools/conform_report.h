// What `quern conform` found out, as text and as a page of Markdown.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/quality.h"
#include "engine/requantize.h"
#include "kernels/conformance.h"
#include "kernels/kernel_probe.h"
#include "kernels/probe.h"

namespace quern::tools {

struct EncoderFigure {
  gguf::Format format;
  kernels::EncoderErrors errors;
};

struct FormatEvidence {
  gguf::Format format;
  std::vector<kernels::Finding> findings = {};
  kernels::EncoderErrors encoder = {};
  std::optional<kernels::KernelRates> rates = {};
  std::optional<engine::Comparison> quality = {};  // beside Q8_0

  bool failed() const;
};

struct Evidence {
  std::vector<EncoderFigure> figures;  // of all formats, by bits per weight
  std::optional<kernels::MachineProfile> machine = {};
  std::vector<FormatEvidence> rows = {};
};

// One line, and one for every check that failed.
std::string to_text(const FormatEvidence& row, const Evidence& evidence);
std::string to_markdown(const Evidence& evidence);

}  // namespace quern::tools

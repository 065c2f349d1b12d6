// What `quern conform` found out, as text, as a page of Markdown and as JSON.
#pragma once

#include <nlohmann/json.hpp>
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

  bool failed() const;   // a check found something wrong
  bool missing() const;  // there was something that could not be checked
};

struct Evidence {
  std::vector<EncoderFigure> figures;  // of all formats, by bits per weight
  std::optional<kernels::MachineProfile> machine = {};
  std::vector<std::string> devices = {};  // besides the CPU, described
  std::vector<FormatEvidence> rows = {};
};

// One line, and one for every check that failed or had nothing to look at.
std::string to_text(const FormatEvidence& row, const Evidence& evidence);
std::string to_markdown(const Evidence& evidence);
nlohmann::ordered_json to_json(const Evidence& evidence);

}  // namespace quern::tools

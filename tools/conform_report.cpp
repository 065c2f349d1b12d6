#include "tools/conform_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace quern::tools {
namespace {

using kernels::Finding;

// "35.1 GB/s (82 %)"
std::string rate(double value, double peak, double unit, const char* name) {
  std::string text = fmt::format("{:.1f} {}", value / unit, name);
  if (peak > 0) text += fmt::format(" ({:.0f} %)", 100 * value / peak);
  return text;
}

std::string decode_text(const FormatEvidence& row, const Evidence& evidence) {
  return rate(row.rates->decode_bytes, evidence.machine->read_bandwidth_all, 1e9, "GB/s");
}

std::string prefill_text(const FormatEvidence& row, const Evidence& evidence) {
  return rate(row.rates->prefill_operations, evidence.machine->int8_peak, 1e9, "Gop/s");
}

// The formats next to this one in bits per weight, with their errors.
std::string neighbours(const FormatEvidence& row, const Evidence& evidence) {
  const auto& figures = evidence.figures;
  const auto own = std::ranges::find(figures, row.format, &EncoderFigure::format);
  std::string text;
  const auto add = [&](const EncoderFigure& figure) {
    text += fmt::format("{}{} {:.4f}", text.empty() ? "" : ", ", gguf::info(figure.format).name,
                        figure.errors.normal);
  };
  if (own != figures.begin()) add(*std::prev(own));
  if (own != figures.end() && std::next(own) != figures.end()) add(*std::next(own));
  return text;
}

std::string checks_text(const FormatEvidence& row) {
  const auto failed = std::ranges::count_if(row.findings, &Finding::failed);
  const auto missing = std::ranges::count_if(row.findings, &Finding::missing);
  const auto count = static_cast<std::ptrdiff_t>(row.findings.size());
  std::string text = failed == 0 ? fmt::format("{} passed", count - missing)
                                 : fmt::format("{} of {} FAILED", failed, count);
  if (missing > 0) text += fmt::format(", {} MISSING", missing);
  return text;
}

const char* state(const Finding& finding) {
  return finding.missing ? "missing" : finding.failed() ? "failed" : "passed";
}

// Everything that is not as it should be, a line each: "before NAME: check: problem after".
std::string problems(const FormatEvidence& row, std::string_view before, std::string_view after) {
  std::string text;
  for (const Finding& finding : row.findings) {
    if (finding.problem.empty()) continue;
    text += fmt::format("{}{}: {}{}: {}{}", before, gguf::info(row.format).name,
                        finding.missing ? "MISSING: " : "", finding.check, finding.problem, after);
  }
  return text;
}

std::string markdown_row(const FormatEvidence& row, const Evidence& evidence) {
  const gguf::FormatInfo& format = gguf::info(row.format);
  std::string text =
      fmt::format("| {} | {:.4g} | {:.4f} | {:.4f} | {} | ", format.name, format.bits_per_value(),
                  row.encoder.normal, row.encoder.heavy_tail, neighbours(row, evidence));
  text += row.rates
              ? fmt::format("{} | {} | ", decode_text(row, evidence), prefill_text(row, evidence))
              : " | | ";
  text += row.quality
              ? fmt::format("{:.2e} | {:.1f} % | {:.4f} | ", row.quality->divergence().value,
                            100 * row.quality->agreement().value, row.quality->ratio().value)
              : " | | | ";
  return text + checks_text(row) + " |\n";
}

std::vector<const FormatEvidence*> by_bits(const Evidence& evidence) {
  std::vector<const FormatEvidence*> rows;
  for (const FormatEvidence& row : evidence.rows) rows.push_back(&row);
  std::ranges::stable_sort(
      rows, {}, [](const FormatEvidence* row) { return gguf::info(row->format).bits_per_value(); });
  return rows;
}

// Formats down, checks across; a list says what each column is.
std::string checks_table(std::span<const FormatEvidence* const> rows) {
  if (rows.empty()) return {};
  std::string list = "Checks of every format:\n\n", head = "\n| format |", line = "|---|";
  for (size_t i = 0; i < rows[0]->findings.size(); ++i) {
    list += fmt::format("{}. {}\n", i + 1, rows[0]->findings[i].check);
    head += fmt::format(" {} |", i + 1);
    line += ":-:|";
  }
  std::string text = list + head + "\n" + line + "\n";
  for (const FormatEvidence* row : rows) {
    text += fmt::format("| {} |", gguf::info(row->format).name);
    for (const Finding& finding : row->findings) {
      text += finding.missing ? " missing |" : finding.failed() ? " **FAILED** |" : " ok |";
    }
    text += "\n";
  }
  return text;
}

nlohmann::ordered_json row_json(const FormatEvidence& row) {
  const gguf::FormatInfo& format = gguf::info(row.format);
  nlohmann::ordered_json json = {
      {"format", format.name},
      {"bits", format.bits_per_value()},
      {"encoder_error", {{"normal", row.encoder.normal}, {"heavy_tail", row.encoder.heavy_tail}}}};
  if (row.rates) {
    json["decode_bytes_per_second"] = row.rates->decode_bytes;
    json["prefill_operations_per_second"] = row.rates->prefill_operations;
  }
  if (row.quality) {
    json["kl_divergence"] = row.quality->divergence().value;
    json["same_first"] = row.quality->agreement().value;
    json["perplexity_ratio"] = row.quality->ratio().value;
  }
  for (const Finding& finding : row.findings) {
    nlohmann::ordered_json check = {{"check", finding.check}, {"state", state(finding)}};
    if (!finding.problem.empty()) check["problem"] = finding.problem;
    json["checks"].push_back(check);
  }
  return json;
}

}  // namespace

bool FormatEvidence::failed() const { return std::ranges::any_of(findings, &Finding::failed); }

bool FormatEvidence::missing() const { return std::ranges::any_of(findings, &Finding::missing); }

std::string to_text(const FormatEvidence& row, const Evidence& evidence) {
  const gguf::FormatInfo& format = gguf::info(row.format);
  std::string text =
      fmt::format("{:<8} {:>6.4g} bits  encoder {:.4f} {:.4f}", format.name,
                  format.bits_per_value(), row.encoder.normal, row.encoder.heavy_tail);
  if (row.rates) {
    text += fmt::format("  decode {}  prefill {}", decode_text(row, evidence),
                        prefill_text(row, evidence));
  }
  if (row.quality) {
    text += fmt::format("  KL {:.2e}  same first {:.1f} %  perplexity x{:.4f}",
                        row.quality->divergence().value, 100 * row.quality->agreement().value,
                        row.quality->ratio().value);
  }
  text += fmt::format("  {}\n", checks_text(row));
  return text + problems(row, "", "\n");
}

std::string to_markdown(const Evidence& evidence) {
  std::string text =
      "# Block formats: the evidence\n\n"
      "Made by `quern conform all --device vulkan:0 --md docs/formats.md`; do not edit. Layouts "
      "and\n"
      "decoding: `gguf/block_layout.h`, `kernels/cpu/reference_*.cpp` and `kernels/formats/`. How "
      "to\n"
      "add a format: [adding-a-format.md](adding-a-format.md).\n\n";
  if (evidence.machine) {
    text +=
        fmt::format("Measured on: {}, {} threads, {:.1f} GB/s, {:.0f} int8 Gop/s.\n\n",
                    evidence.machine->cpu, evidence.machine->threads,
                    evidence.machine->read_bandwidth_all / 1e9, evidence.machine->int8_peak / 1e9);
  }
  for (const std::string& device : evidence.devices) text += fmt::format("Device: {}.\n\n", device);
  text +=
      "* error: of the encoder, relative rms without importance, on rows with equal and with very\n"
      "  unequal values (heavy); beside it the formats next in bits per weight.\n"
      "* decode, prefill: weights read per second for one token, operations per second for many;\n"
      "  share of what the machine could do at the start. On a virtual machine, whose neighbours "
      "take\n"
      "  bandwidth at times, that share wanders, and may be above 100 %.\n"
      "* KL, same first, perplexity: the bundled model with all matrices in this format beside "
      "the\n"
      "  same in Q8_0, both made from its Q4_K_M file, without importance data.\n\n"
      "| format | bits | error | heavy | neighbours | decode | prefill | KL | same first "
      "| perplexity | checks |\n"
      "|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---|\n";
  const std::vector<const FormatEvidence*> rows = by_bits(evidence);
  for (const FormatEvidence* row : rows) text += markdown_row(*row, evidence);
  text += "\n" + checks_table(rows);
  for (const FormatEvidence* row : rows) text += problems(*row, "\n**", "**\n");
  return text;
}

nlohmann::ordered_json to_json(const Evidence& evidence) {
  nlohmann::ordered_json json = {{"devices", evidence.devices},
                                 {"formats", nlohmann::ordered_json::array()}};
  if (evidence.machine) {
    json["machine"] = {{"cpu", evidence.machine->cpu},
                       {"threads", evidence.machine->threads},
                       {"read_bandwidth", evidence.machine->read_bandwidth_all},
                       {"int8_peak", evidence.machine->int8_peak}};
  }
  for (const FormatEvidence* row : by_bits(evidence)) json["formats"].push_back(row_json(*row));
  return json;
}

}  // namespace quern::tools

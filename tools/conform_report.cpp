#include "tools/conform_report.h"

#include <fmt/format.h>

#include <algorithm>

namespace quern::tools {
namespace {

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
  const auto failed = std::ranges::count_if(
      row.findings, [](const kernels::Finding& finding) { return !finding.problem.empty(); });
  return failed == 0 ? fmt::format("{} passed", row.findings.size())
                     : fmt::format("{} of {} FAILED", failed, row.findings.size());
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

}  // namespace

bool FormatEvidence::failed() const {
  return std::ranges::any_of(findings, [](const auto& f) { return !f.problem.empty(); });
}

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
  for (const kernels::Finding& finding : row.findings) {
    if (finding.problem.empty()) continue;
    text += fmt::format("{}: {}: {}\n", format.name, finding.check, finding.problem);
  }
  return text;
}

std::string to_markdown(const Evidence& evidence) {
  std::string text =
      "# Block formats: the evidence\n\n"
      "Made by `quern conform all --md docs/formats.md`; do not edit. Layouts and decoding:\n"
      "`gguf/block_layout.h` and `kernels/cpu/reference_*.cpp`. How to add a format:\n"
      "[adding-a-format.md](adding-a-format.md).\n\n";
  if (evidence.machine) {
    text +=
        fmt::format("Measured on: {}, {} threads, {:.1f} GB/s, {:.0f} int8 Gop/s.\n\n",
                    evidence.machine->cpu, evidence.machine->threads,
                    evidence.machine->read_bandwidth_all / 1e9, evidence.machine->int8_peak / 1e9);
  }
  text +=
      "* error: of the encoder, relative rms without importance, on rows with equal and with very\n"
      "  unequal values (heavy); beside it the formats next in bits per weight.\n"
      "* decode, prefill: weights read per second for one token, operations per second for many;\n"
      "  share of what the machine can do.\n"
      "* KL, same first, perplexity: the bundled model with all matrices in this format beside "
      "the\n"
      "  same in Q8_0, both made from its Q4_K_M file, without importance data.\n\n"
      "| format | bits | error | heavy | neighbours | decode | prefill | KL | same first "
      "| perplexity | checks |\n"
      "|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---|\n";
  std::vector<const FormatEvidence*> rows;
  for (const FormatEvidence& row : evidence.rows) rows.push_back(&row);
  std::ranges::stable_sort(
      rows, {}, [](const FormatEvidence* row) { return gguf::info(row->format).bits_per_value(); });
  for (const FormatEvidence* row : rows) text += markdown_row(*row, evidence);
  if (!rows.empty()) {
    text += "\nChecks of every format:\n\n";
    for (const kernels::Finding& finding : rows[0]->findings) {
      text += fmt::format("* {}\n", finding.check);
    }
  }
  for (const FormatEvidence* row : rows) {
    for (const kernels::Finding& finding : row->findings) {
      if (finding.problem.empty()) continue;
      text += fmt::format("\n**{}: {}: {}**\n", gguf::info(row->format).name, finding.check,
                          finding.problem);
    }
  }
  return text;
}

}  // namespace quern::tools

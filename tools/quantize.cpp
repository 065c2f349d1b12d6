// `quern quantize`: writes a model in another mix of formats.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/requantize.h"
#include "tools/commands.h"
#include "tools/output.h"
#include "tools/sizes.h"
#include "tools/terminal.h"

namespace quern::tools {
namespace {

using engine::TensorPlan;
using engine::TensorResult;

struct QuantizeOptions {
  std::string in, out, type, imatrix;
  std::vector<std::string> overrides;  // "pattern=TYPE"
  size_t threads = 0;
  bool dry_run = false, json = false;
};

std::string mix_names() {
  std::vector<std::string_view> names;
  for (const engine::Mix& mix : engine::mixes()) names.push_back(mix.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

Result<engine::FormatOverride> parse_override(const std::string& text) {
  const size_t at = text.rfind('=');
  const auto format =
      at == std::string::npos ? std::nullopt : gguf::format_from_name(text.substr(at + 1));
  if (!format || at == 0) {
    return bad_input("quantize-pattern",
                     fmt::format("--tensor takes PATTERN=TYPE, such as 'blk.*.ffn_down.weight=q6_K'"
                                 ", not {}",
                                 escape(text)));
  }
  return engine::FormatOverride{text.substr(0, at), *format};
}

// Two names of one file are found out, too.
Status check_output(const gguf::File& file, const std::string& out) {
  for (const auto& part : file.parts()) {
    std::error_code ignored;
    if (std::filesystem::equivalent(part.path, out, ignored)) {
      return bad_input("write", "OUT is the file that is read; choose another name");
    }
  }
  return {};
}

// Formats of about two bits need to know which values matter.
bool wants_importance(gguf::Format format) {
  using F = gguf::Format;
  return format == F::IQ1_S || format == F::IQ1_M || format == F::IQ2_XXS || format == F::IQ2_XS ||
         format == F::IQ2_S || format == F::IQ3_XXS;
}

void warn(const gguf::File& file, const engine::Mix& mix, std::span<const TensorPlan> plan,
          bool has_importance) {
  std::vector<std::string> warnings(file.warnings().begin(), file.warnings().end());
  const auto from_quantized = [](const TensorPlan& entry) {
    return entry.converts() && !gguf::info(entry.tensor->format).is_float();
  };
  if (std::ranges::any_of(plan, from_quantized)) {
    warnings.push_back(
        "the model is quantized already, so errors add up; begin with F16, BF16 or F32 if you can");
  }
  if (!has_importance && wants_importance(mix.base)) {
    warnings.push_back(
        fmt::format("{} without importance data loses much; make some with "
                    "quern imatrix and give it as --imatrix",
                    mix.name));
  }
  print_warnings(warnings);
}

// What is printed: one line per tensor, then the whole.
class Report {
 public:
  Report(std::span<const TensorPlan> plan, bool json) : json_(json) {
    for (const TensorPlan& entry : plan) {
      from_bytes_ += entry.tensor->bytes.size();
      to_bytes_ += entry.bytes();
      elements_ += entry.tensor->elements();
      name_width_ = std::max(name_width_, entry.tensor->name.size());
    }
  }

  Status add(const TensorPlan& plan, const std::optional<kernels::EncodingError>& error) {
    const auto& tensor = *plan.tensor;
    const auto from = gguf::info(tensor.format).name, to = gguf::info(plan.format).name;
    if (error) total_ += *error;
    if (json_) {
      nlohmann::ordered_json row = {
          {"name", tensor.name}, {"from", from}, {"to", to}, {"bytes", plan.bytes()}};
      if (error) row["relative_rms_error"] = error->relative_rms();
      rows_.push_back(std::move(row));
      return {};
    }
    std::string line = fmt::format("{:<{}}  {:>8} -> {:<8} {:>10}", printable(tensor.name),
                                   name_width_, from, to, size_text(plan.bytes()));
    if (error) line += fmt::format("  error {:.4f}", error->relative_rms());
    return write_stdout(line + "\n");
  }

  Status finish(const std::string& out, bool dry_run) const {
    const double bits = 8.0 * static_cast<double>(to_bytes_) / static_cast<double>(elements_);
    if (json_) {
      nlohmann::ordered_json json = {{"out", out},
                                     {"written", !dry_run},
                                     {"bytes_before", from_bytes_},
                                     {"bytes", to_bytes_},
                                     {"bits_per_weight", bits}};
      if (!dry_run) json["relative_rms_error"] = total_.relative_rms();
      json["tensors"] = rows_;
      return write_stdout(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
                          "\n");
    }
    std::string line = fmt::format("{} -> {}, {:.3f} bits per weight", size_text(from_bytes_),
                                   size_text(to_bytes_), bits);
    line += dry_run ? "; nothing written" : fmt::format(", error {:.4f}", total_.relative_rms());
    return write_stdout(line + "\n");
  }

 private:
  bool json_;
  uint64_t from_bytes_ = 0, to_bytes_ = 0, elements_ = 0;
  size_t name_width_ = 0;
  kernels::EncodingError total_;
  nlohmann::ordered_json rows_ = nlohmann::ordered_json::array();
};

// "quantizing 37 %, 2 min 5 s left"
std::string progress_text(double share, double elapsed) {
  const auto left = static_cast<int>(elapsed / share * (1 - share) + 0.5);
  const std::string time =
      left < 60 ? fmt::format("{} s", left) : fmt::format("{} min {} s", left / 60, left % 60);
  return fmt::format("quantizing {:.0f} %, {} left", share * 100, time);
}

Status write_model(const gguf::File& file, std::span<const TensorPlan> plan, const engine::Mix& mix,
                   const engine::Importance* importance, const QuantizeOptions& options,
                   Report& report) {
  // Rows are printed as they are done, but a write error must not be lost.
  Status printed;
  Progress progress("quantizing");
  const auto start = std::chrono::steady_clock::now();
  const auto show = [&](double share) {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    progress.say(progress_text(share, elapsed.count()));
  };
  const auto done = [&](const TensorResult& result) {
    progress.clear();
    if (printed) printed = report.add(*result.plan, result.error);
  };
  QUERN_CHECK(engine::requantize(file, plan,
                                 {.mix = &mix,
                                  .importance = importance,
                                  .threads = options.threads,
                                  .progress = show,
                                  .done = done},
                                 options.out));
  return printed;
}

Status quantize(const QuantizeOptions& options) {
  const engine::Mix* mix = engine::find_mix(options.type);
  if (!mix) {
    return bad_input("quantize-type",
                     fmt::format("no type {}; there are {}", escape(options.type), mix_names()));
  }
  std::vector<engine::FormatOverride> overrides;
  for (const std::string& text : options.overrides) {
    QUERN_TRY(engine::FormatOverride rule, parse_override(text));
    overrides.push_back(std::move(rule));
  }
  std::optional<engine::Importance> importance;
  if (!options.imatrix.empty()) {
    QUERN_TRY(importance, engine::Importance::read(options.imatrix));
  }
  QUERN_TRY(const gguf::File file, gguf::File::open(options.in));
  QUERN_CHECK(check_output(file, options.out));
  QUERN_TRY(const std::vector<TensorPlan> plan,
            engine::plan_formats(file, *mix, overrides, importance.has_value()));
  warn(file, *mix, plan, importance.has_value());

  Report report(plan, options.json);
  if (options.dry_run) {
    for (const TensorPlan& entry : plan) QUERN_CHECK(report.add(entry, {}));
  } else {
    QUERN_CHECK(
        write_model(file, plan, *mix, importance ? &*importance : nullptr, options, report));
  }
  return report.finish(options.out, options.dry_run);
}

}  // namespace

void add_quantize(CLI::App& app, Run& run) {
  auto options = std::make_shared<QuantizeOptions>();
  CLI::App* command = app.add_subcommand("quantize", "Write a model in smaller formats");
  command->footer(
      fmt::format("Examples:\n"
                  "  quern quantize model-f16.gguf model.gguf Q4_K_M\n"
                  "  quern quantize model-f16.gguf model.gguf IQ2_S --imatrix importance.gguf\n"
                  "  quern quantize model-f16.gguf model.gguf Q4_K_S --tensor "
                  "'blk.*.ffn_down.weight=q6_K'\n"
                  "Types: {}",
                  mix_names()));
  command->add_option("IN", options->in, "GGUF model, of any formats")->required();
  command->add_option("OUT", options->out, "GGUF file to write")->required();
  command->add_option("TYPE", options->type, "mix of formats, see below")->required();
  command->add_option("--imatrix", options->imatrix,
                      "importance data (quern imatrix), which errors are weighted with");
  command
      ->add_option(
          "--tensor", options->overrides,
          "PATTERN=TYPE: another format for the tensors with such names; * stands for any\n"
          "text. Can be repeated; the last one that matches counts")
      ->take_all()
      ->expected(1)
      ->option_text("PATTERN=TYPE");
  command->add_option("--threads", options->threads, "threads (default: all processors)")
      ->check(CLI::Range(1, 1024));
  command->add_flag("--dry-run", options->dry_run, "only say what would be written");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, &run] { run = [options] { return quantize(*options); }; });
}

}  // namespace quern::tools

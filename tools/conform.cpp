// `quern conform`: checks a format and its kernels, measures what it is worth, and writes the
// evidence.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "engine/devices.h"
#include "gguf/os_file.h"
#include "kernels/kernel_probe.h"
#include "kernels/probe.h"
#include "kernels/vulkan.h"
#include "tools/bundled_model.h"
#include "tools/commands.h"
#include "tools/conform_report.h"
#include "tools/machine_file.h"
#include "tools/output.h"
#include "tools/quality_options.h"

namespace quern::tools {
namespace {

using gguf::Format;

struct ConformOptions {
  std::string format, markdown, golden, model, text;
  std::vector<std::string> devices;
  bool quick = false, json = false;
};

// The formats that `name` stands for: one, or all quantized ones.
Result<std::vector<Format>> chosen_formats(const std::string& name) {
  std::vector<Format> formats;
  for (const gguf::FormatInfo& format : gguf::kFormats) {
    if (name == "all" && !format.is_float()) formats.push_back(format.format);
  }
  if (!formats.empty()) return formats;
  const auto format = gguf::format_from_name(name);
  if (!format || gguf::info(*format).is_float()) {
    return bad_input("conform-format", fmt::format("no quantized format {}", escape(name)));
  }
  return std::vector{*format};
}

// A file of the source tree, if this program was built from one that is still there.
std::string source_file(const char* relative) {
  const auto path =
      (std::filesystem::path(QUERN_MODELS_DIR) / ".." / relative).lexically_normal().string();
  std::error_code error;
  return std::filesystem::exists(path, error) ? path : "";
}

std::vector<kernels::GoldenBlocks> golden_blocks(const gguf::File& file, Format format) {
  std::vector<kernels::GoldenBlocks> sets;
  for (const gguf::TensorView& tensor : file.tensors()) {
    const gguf::TensorView* values = file.find_tensor(std::string(tensor.name) + "/f32");
    if (tensor.format == format && values && values->elements() == tensor.elements()) {
      sets.push_back({printable(tensor.name), tensor.bytes, values->bytes});
    }
  }
  return sets;
}

// A model whose matrices all have one format, made from another model in memory.
class PureModel {
 public:
  static Result<std::unique_ptr<PureModel>> make(const gguf::File& source, Format format,
                                                 const QualityOptions& options, uint32_t context) {
    const engine::Mix mix{"pure", 0, format, format, format};
    auto model = std::make_unique<PureModel>();
    QUERN_TRY(const auto plan, engine::plan_formats(source, mix, {}, false));
    QUERN_TRY(model->bytes_, engine::requantized(source, plan, {.mix = &mix}));
    QUERN_TRY(gguf::File file,
              gguf::File::from_bytes(model->bytes_, std::string(gguf::info(format).name)));
    QUERN_TRY(model->engine_, load_for_windows(std::move(file), options, context));
    return model;
  }
  engine::Engine& engine() { return *engine_; }

 private:
  std::vector<std::byte> bytes_;
  std::unique_ptr<engine::Engine> engine_;
};

// What every format of a model's matrices does to its predictions.
class QualityCheck {
 public:
  static Result<QualityCheck> make(const ConformOptions& options) {
    QualityCheck check;
    check.options_.text = options.text;
    check.options_.context = 128;
    QUERN_TRY(gguf::File file, gguf::File::open(options.model));
    check.source_ = std::make_unique<gguf::File>(std::move(file));
    QUERN_TRY(check.text_, open_windows(*check.source_, check.options_));
    QUERN_TRY(check.reference_,
              PureModel::make(*check.source_, Format::Q8_0, check.options_, check.text_.context));
    return check;
  }

  Result<engine::Comparison> run(Format format) {
    QUERN_TRY(const auto model, PureModel::make(*source_, format, options_, text_.context));
    engine::Comparison comparison;
    engine::Engine* const engines[] = {&reference_->engine(), &model->engine()};
    const engine::CancelToken never{false};
    for (const engine::Window& window : text_.windows) {
      QUERN_CHECK(engine::visit_predictions(engines, window, never, [&](auto logits, int32_t next) {
        comparison.add(logits[0], logits[1], next);
      }));
    }
    return comparison;
  }

 private:
  QualityOptions options_;
  std::unique_ptr<gguf::File> source_;
  TextWindows text_{};
  std::unique_ptr<PureModel> reference_;
};

// A format that needs a third more bits than another should not err more.
void check_neighbours(FormatEvidence& row, std::span<const EncoderFigure> figures) {
  const double bits = gguf::info(row.format).bits_per_value();
  for (const EncoderFigure& other : figures) {
    if (gguf::info(other.format).bits_per_value() > 0.75 * bits) continue;
    if (row.encoder.normal <= other.errors.normal &&
        row.encoder.heavy_tail <= other.errors.heavy_tail) {
      continue;
    }
    row.findings.push_back({"encoder beats smaller formats",
                            fmt::format("it errs more than {}", gguf::info(other.format).name)});
    return;
  }
  row.findings.push_back({"encoder beats smaller formats", ""});
}

// A device besides the CPU, opened.
struct OpenDevice {
  std::string description;
  std::unique_ptr<kernels::Backend> backend;
};

// "vulkan:0 (NVIDIA H200, driver 570.1)"
std::string describe(const std::string& name) {
  const auto gpus = kernels::list_vulkan_devices();
  const size_t colon = name.find(':');
  if (!gpus || colon == std::string::npos) return name;
  const auto index = kernels::find_vulkan_device(*gpus, name.substr(colon + 1));
  if (!index) return name;
  return fmt::format("{} ({}, {})", name, printable((*gpus)[*index].name),
                     printable((*gpus)[*index].driver));
}

Result<std::vector<OpenDevice>> open_devices(const std::vector<std::string>& names) {
  std::vector<OpenDevice> devices;
  for (const std::string& name : names) {
    if (name == "cpu") continue;  // is always checked
    QUERN_TRY(auto backend, engine::make_device(name, cache_folder()));
    devices.push_back({describe(name), std::move(backend)});
  }
  return devices;
}

// Everything about one format that is not a matter of speed or of a model.
FormatEvidence check(Format format, const std::optional<gguf::File>& golden,
                     std::span<const OpenDevice> devices, std::span<const EncoderFigure> figures) {
  FormatEvidence row{.format = format};
  row.findings = kernels::check_format(
      format, golden ? golden_blocks(*golden, format) : std::vector<kernels::GoldenBlocks>{});
  const auto figure = std::ranges::find(figures, format, &EncoderFigure::format);
  row.encoder = figure->errors;
  check_neighbours(row, figures);
  for (const OpenDevice& device : devices) {
    for (kernels::Finding& finding : kernels::check_device(format, *device.backend)) {
      row.findings.push_back(std::move(finding));
    }
  }
  return row;
}

std::vector<EncoderFigure> encoder_figures() {
  std::vector<EncoderFigure> figures;
  for (const gguf::FormatInfo& format : gguf::kFormats) {
    if (!format.is_float()) {
      figures.push_back({format.format, kernels::encoder_errors(format.format)});
    }
  }
  std::ranges::stable_sort(figures, {}, [](const EncoderFigure& figure) {
    return gguf::info(figure.format).bits_per_value();
  });
  return figures;
}

// Together and last, so that nothing else is done meanwhile.
Status measure_speed(Evidence& evidence) {
  Progress progress("measuring");
  progress.say("measuring this machine");
  evidence.machine = kernels::probe(0);
  for (FormatEvidence& row : evidence.rows) {
    progress.say(fmt::format("measuring {}", gguf::info(row.format).name));
    QUERN_TRY(row.rates, kernels::probe_kernels(0, row.format));
  }
  return {};
}

// What a model in this format predicts; without a text or a model that is a gap.
Status try_model(std::optional<QualityCheck>& quality, FormatEvidence& row) {
  row.findings.push_back({"a model in this format predicts like one in Q8_0", ""});
  kernels::Finding& finding = row.findings.back();
  if (!quality) {
    finding = {finding.check, "no text: give --text FILE", true};
    return {};
  }
  QUERN_TRY(row.quality, quality->run(row.format));
  const double divergence = row.quality->divergence().value;
  if (!std::isfinite(divergence)) finding.problem = fmt::format("the divergence is {}", divergence);
  return {};
}

Result<Evidence> gather(ConformOptions options) {
  QUERN_TRY(const std::vector<Format> formats, chosen_formats(options.format));
  QUERN_TRY(const std::vector<OpenDevice> devices, open_devices(options.devices));
  if (options.golden.empty()) options.golden = source_file("tests/golden/dequant.gguf");
  if (options.text.empty()) options.text = source_file("tests/golden/validation.txt");
  std::optional<gguf::File> golden;
  if (!options.golden.empty()) {
    QUERN_TRY(golden, gguf::File::open(options.golden));
  }
  std::optional<QualityCheck> quality;
  if (!options.quick && !options.text.empty()) {
    if (options.model.empty()) {
      QUERN_TRY(options.model, bundled_model());
    }
    QUERN_TRY(quality, QualityCheck::make(options));
  }
  Evidence evidence{.figures = encoder_figures()};
  for (const OpenDevice& device : devices) evidence.devices.push_back(device.description);
  Progress progress("checking");
  for (const Format format : formats) {
    progress.say(fmt::format("checking {}", gguf::info(format).name));
    FormatEvidence row = check(format, golden, devices, evidence.figures);
    if (!options.quick) QUERN_CHECK(try_model(quality, row));
    evidence.rows.push_back(std::move(row));
  }
  progress.clear();
  if (!options.quick) QUERN_CHECK(measure_speed(evidence));
  return evidence;
}

Status print(const Evidence& evidence, const ConformOptions& options) {
  if (options.json) {
    return write_stdout(
        to_json(evidence).dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  }
  for (const FormatEvidence& row : evidence.rows) QUERN_CHECK(write_stdout(to_text(row, evidence)));
  return {};
}

Status write_page(const Evidence& evidence, const std::string& path) {
  const std::string page = to_markdown(evidence);
  QUERN_TRY(gguf::ReplacedFile out, gguf::ReplacedFile::create(path));
  QUERN_CHECK(out.write(std::as_bytes(std::span(page))));
  return out.commit();
}

// A gap in the evidence is a failure, too, unless only quick checks were asked for.
Status conform(const ConformOptions& options) {
  QUERN_TRY(const Evidence evidence, gather(options));
  QUERN_CHECK(print(evidence, options));
  if (!options.markdown.empty()) QUERN_CHECK(write_page(evidence, options.markdown));
  const auto failures = std::ranges::count_if(evidence.rows, &FormatEvidence::failed);
  const auto gaps =
      options.quick ? 0 : std::ranges::count_if(evidence.rows, &FormatEvidence::missing);
  if (failures == 0 && gaps == 0) return {};
  return fail(ErrorKind::kFailure, "conform",
              fmt::format("of {} formats {} failed and {} lack evidence", evidence.rows.size(),
                          failures, gaps));
}

}  // namespace

void add_conform(CLI::App& app, Run& run) {
  auto options = std::make_shared<ConformOptions>();
  CLI::App* command =
      app.add_subcommand("conform", "Check a block format, its kernels and its encoder");
  command->footer(
      "Examples:\n"
      "  quern conform q4_K\n"
      "  quern conform all --device vulkan:0 --md docs/formats.md\n"
      "Decoding and dot products are compared with the scalar reference on every instruction set\n"
      "of this machine, the encoder with its neighbours, kernels with the machine's peaks, and a\n"
      "model in this format with itself in Q8_0. The exit code is 1 when a check fails or, "
      "without\n"
      "--quick, when evidence is missing.");
  command->add_option("FORMAT", options->format, "a quantized format, or all")->required();
  command
      ->add_option("--device", options->devices,
                   "also check the shaders on vulkan:N or vulkan:NAME; several with commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->option_text("NAME");
  command->add_flag("--json", options->json, "print JSON");
  command->add_option("--md", options->markdown, "write a Markdown page");
  command->add_flag("--quick", options->quick, "only checks: no speed, no model");
  command->add_option("--golden", options->golden,
                      "GGUF file with blocks T/NAME and their values T/NAME/f32\n"
                      "(default: that of the source tree)");
  command->add_option("--model", options->model, "model to try (default: the bundled one)");
  command->add_option("--text", options->text, "text to try it on (default: of the source tree)");
  command->callback([options, &run] { run = [options] { return conform(*options); }; });
}

}  // namespace quern::tools

// quern inspect: what is in a GGUF file.
#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <memory>

#include "bench/digest.h"
#include "gguf/file.h"
#include "gguf/os_file.h"
#include "kernels/cpu/reference.h"
#include "tools/commands.h"
#include "tools/inspect_report.h"
#include "tools/output.h"

namespace quern::tools {
namespace {

struct Options {
  std::vector<std::string> files;
  bool json = false;
  bool sha256 = false;
  std::string dump;  // tensor name
  std::string out;
  ReportOptions report;
};

Status report(const gguf::File& file, const Options& options) {
  ReportOptions report = options.report;
  if (options.sha256) {
    for (const auto& part : file.parts()) {
      QUERN_TRY(std::string digest, bench::sha256(part.bytes));
      report.digests.push_back(std::move(digest));
    }
    QUERN_CHECK(file.check_unchanged());
  }
  return write_stdout(options.json ? json_report(file, report) : text_report(file, report));
}

// Values decoded at a time: a multiple of every format's block, so that a tensor can be taken as
// one long row (rows are whole blocks and follow each other without gaps).
constexpr uint64_t kChunk = 1 << 16;

Status dump_weights(const gguf::TensorView& tensor, gguf::ReplacedFile& out) {
  const gguf::FormatInfo& format = gguf::info(tensor.format);
  std::vector<float> values(std::min(kChunk, tensor.elements()));
  for (uint64_t first = 0; first < tensor.elements(); first += kChunk) {
    const uint64_t count = std::min(kChunk, tensor.elements() - first);
    kernels::cpu::reference::decode_row(
        tensor.format, tensor.bytes.data() + format.row_bytes(first), values.data(), count);
    QUERN_CHECK(out.write(std::as_bytes(std::span(values).first(count))));
  }
  return {};
}

float load_number(gguf::NumberType type, const std::byte* at) {
  const auto load = [&]<typename T>(T value) {
    std::memcpy(&value, at, sizeof value);
    return static_cast<float>(value);
  };
  switch (type) {
    case gguf::NumberType::kI8:
      return load(int8_t{});
    case gguf::NumberType::kI16:
      return load(int16_t{});
    case gguf::NumberType::kI32:
      return load(int32_t{});
    case gguf::NumberType::kI64:
      return load(int64_t{});
    case gguf::NumberType::kF64:
      return load(double{});
  }
  return 0;
}

Status dump_numbers(const gguf::NumberTensorView& tensor, gguf::ReplacedFile& out) {
  const uint64_t width = gguf::info(tensor.type).bytes;
  std::vector<float> values;
  for (uint64_t first = 0; first < tensor.elements(); first += kChunk) {
    values.clear();
    for (uint64_t i = first; i < std::min(first + kChunk, tensor.elements()); ++i) {
      values.push_back(load_number(tensor.type, tensor.bytes.data() + i * width));
    }
    QUERN_CHECK(out.write(std::as_bytes(std::span(values))));
  }
  return {};
}

// Writes one tensor as little-endian float32, innermost dimension first.
Status dump(const gguf::File& file, const Options& options) {
  const gguf::TensorView* weights = file.find_tensor(options.dump);
  const gguf::NumberTensorView* numbers = file.find_number_tensor(options.dump);
  if (!weights && !numbers) {
    return bad_input("tensor-name", fmt::format("there is no tensor {}; --tensors lists the names",
                                                escape(options.dump, 256)));
  }
  for (const auto& part : file.parts()) {
    std::error_code ignored;
    if (std::filesystem::equivalent(part.path, options.out, ignored)) {
      return bad_input("write", "--out is the file that is read; choose another name");
    }
  }
  QUERN_TRY(gguf::ReplacedFile out, gguf::ReplacedFile::create(options.out));
  QUERN_CHECK(weights ? dump_weights(*weights, out) : dump_numbers(*numbers, out));
  QUERN_CHECK(file.check_unchanged());
  return out.commit();
}

Status inspect(const Options& options) {
  QUERN_TRY(const gguf::File file, options.files.size() == 1
                                       ? gguf::File::open(options.files[0])
                                       : gguf::File::open_parts(options.files));
  print_warnings(file.warnings());
  return options.dump.empty() ? report(file, options) : dump(file, options);
}

}  // namespace

void add_inspect(CLI::App& app, Run& run) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "Show what is in a GGUF file");
  command->footer(
      "Examples:\n"
      "  quern inspect model.gguf --tensors\n"
      "  quern inspect model.gguf --json --sha256\n"
      "  quern inspect model.gguf --dump output_norm.weight --out norm.f32");
  command
      ->add_option("FILE", options->files,
                   "GGUF file; one part of a split model stands for all of them,\n"
                   "unless the parts were renamed: then list them in order")
      ->required();
  auto* json = command->add_flag("--json", options->json, "Print JSON (docs/inspect-schema.json)");
  command->add_flag("--tensors", options->report.tensors, "List all tensors");
  command->add_flag("--arrays", options->report.arrays, "Show all elements of long arrays");
  auto* digest = command->add_flag("--sha256", options->sha256, "Show the SHA-256 of every file");
  auto* out = command->add_option("--out", options->out, "File that --dump writes");
  auto* tensor = command->add_option("--dump", options->dump,
                                     "Decode this tensor to little-endian float32 in --out");
  tensor->needs(out)->excludes(json)->excludes(digest);
  out->needs(tensor);
  command->callback([options, &run] { run = [options] { return inspect(*options); }; });
}

}  // namespace quern::tools

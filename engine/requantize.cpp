#include "engine/requantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <deque>
#include <map>

#include "engine/metadata.h"
#include "gguf/exceptions.h"
#include "gguf/validate.h"
#include "gguf/writer.h"

namespace quern::engine {
namespace {

tl::unexpected<Error> refuse(const gguf::File& file, std::string code, std::string message) {
  auto error = bad_input(std::move(code), std::move(message));
  error.value().path = file.path();
  return error;
}

// Whether all of `text` matches; * stands for any text, ? for one character.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

// A tensor of one expert, as old Mixtral files have them: blk.L.ffn_up.E.weight is matrix E of
// blk.L.ffn_up_exps.weight.
struct ExpertTensor {
  std::string stack;
  uint64_t expert;
};

std::optional<ExpertTensor> expert_tensor(std::string_view name) {
  constexpr std::string_view kEnd = ".weight";
  if (!name.starts_with("blk.") || !name.ends_with(kEnd)) return {};
  const std::string_view stem = name.substr(0, name.size() - kEnd.size());
  const size_t dot = stem.rfind('.');
  const std::string_view number = stem.substr(dot + 1);
  ExpertTensor tensor{fmt::format("{}_exps.weight", stem.substr(0, dot)), 0};
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), tensor.expert);
  if (dot < 4 || error != std::errc() || end != number.data() + number.size()) return {};
  return tensor;
}

// The file's tensors for a mix, where experts that are apart count as the stack that they are.
struct MixTensors {
  std::vector<MixTensor> tensors;
  std::vector<size_t> of;  // per tensor of the file: which of `tensors` it is

  MixTensors(const gguf::File& file, uint32_t experts) {
    std::map<std::string, size_t> stacks;
    for (const gguf::TensorView& tensor : file.tensors()) {
      of.push_back(tensors.size());
      const auto expert = expert_tensor(tensor.name);
      if (!expert) {
        tensors.push_back({tensor.name, tensor.shape});
        continue;
      }
      const auto [stack, is_new] = stacks.emplace(expert->stack, tensors.size());
      of.back() = stack->second;
      if (!is_new) continue;
      names.push_back(expert->stack);
      tensors.push_back({names.back(), {tensor.shape[0], tensor.shape[1], experts, 1}});
    }
  }

 private:
  std::deque<std::string> names;  // of stacks
};

// What the rules of a mix look at; works for architectures that the engine cannot run, too.
Result<MixSubject> mix_subject(const gguf::File& file, bool has_importance) {
  const std::string architecture(file.text("general.architecture"));
  if (architecture.empty()) {
    return refuse(file, "arch-missing", "no general.architecture: not a model file");
  }
  Keys keys(file, architecture);
  const auto layers = static_cast<uint32_t>(keys.integer("block_count", {0, 65536}, 0));
  const auto heads = keys.per_layer("attention.head_count", layers, {0, 1 << 20}, 1);
  const auto kv_heads = keys.per_layer("attention.head_count_kv", layers, {0, 1 << 20},
                                       heads.empty() ? 1 : heads.front());
  const auto experts = static_cast<uint32_t>(keys.integer("expert_count", {0, 65536}, 0));
  QUERN_CHECK(keys.status());
  // Hybrid models have layers without attention: the layer with the most heads speaks for all.
  const uint64_t q = heads.empty() ? 1 : *std::ranges::max_element(heads);
  const uint64_t kv = kv_heads.empty() ? 1 : *std::ranges::max_element(kv_heads);
  return MixSubject{.architecture = file.text("general.architecture"),
                    .layers = layers,
                    .queries_per_key = static_cast<uint32_t>(kv > 0 ? q / kv : 1),
                    .experts = experts,
                    .has_importance = has_importance};
}

// Vectors stay as they are, unless they are all that the pattern matches.
Status apply_override(const gguf::File& file, const FormatOverride& rule,
                      std::span<TensorPlan> plan) {
  bool used = false;
  const gguf::TensorView* vector = nullptr;
  const gguf::FormatInfo& format = gguf::info(rule.format);
  for (TensorPlan& entry : plan) {
    const auto expert = expert_tensor(entry.tensor->name);
    if (!matches(rule.pattern, entry.tensor->name) &&
        !(expert && matches(rule.pattern, expert->stack))) {
      continue;
    }
    if (!format.is_float() && entry.tensor->rows() == 1) {
      vector = entry.tensor;
      continue;
    }
    used = true;
    if (entry.tensor->row_values() % format.block_values != 0) {
      return refuse(file, "quantize-tensor",
                    fmt::format("rows of {} have {} values, no multiple of the {} in a block of {}",
                                escape(entry.tensor->name), entry.tensor->row_values(),
                                format.block_values, format.name));
    }
    entry.format = rule.format;
  }
  if (used) return {};
  if (vector) {
    return refuse(
        file, "quantize-tensor",
        fmt::format("{} is no matrix; only matrices are quantized", escape(vector->name)));
  }
  return refuse(file, "quantize-pattern",
                fmt::format("no tensor is called {}", escape(rule.pattern)));
}

// Experts that are apart are read as one stack, which has one format.
Status check_stacks(const gguf::File& file, const MixTensors& mixed,
                    std::span<const TensorPlan> plan) {
  std::map<size_t, const TensorPlan*> first;
  for (size_t i = 0; i < plan.size(); ++i) {
    const TensorPlan& other = *first.emplace(mixed.of[i], &plan[i]).first->second;
    if (plan[i].format == other.format) continue;
    return refuse(file, "quantize-experts",
                  fmt::format("{} would be {} and {} {}: experts of a layer need one format, let a "
                              "pattern match all of them",
                              escape(other.tensor->name), gguf::info(other.format).name,
                              escape(plan[i].tensor->name), gguf::info(plan[i].format).name));
  }
  return {};
}

// One file being written: converts its tensors one after the other.
class Conversion {
 public:
  Conversion(const gguf::File& file, const RequantizeOptions& options, uint64_t elements)
      : file_(file), options_(options), quantizer_(options.threads), elements_(elements) {}

  Status convert(const TensorPlan& plan, std::span<std::byte> out);

 private:
  Result<kernels::EncodingError> convert_matrix(const TensorPlan& plan, uint64_t matrix,
                                                std::span<std::byte> out);
  void advance(uint64_t elements) {
    done_ += elements;
    if (options_.progress) {
      options_.progress(static_cast<double>(done_) / static_cast<double>(elements_));
    }
  }

  const gguf::File& file_;
  const RequantizeOptions& options_;
  kernels::Quantizer quantizer_;
  const uint64_t elements_;
  uint64_t done_ = 0;
};

Result<kernels::EncodingError> Conversion::convert_matrix(const TensorPlan& plan, uint64_t matrix,
                                                          std::span<std::byte> out) {
  const gguf::TensorView& tensor = *plan.tensor;
  const uint64_t values = tensor.row_values(), rows = tensor.shape[1];
  const uint64_t to_bytes = gguf::info(plan.format).row_bytes(values);
  std::vector<float> importance;
  if (options_.importance) importance = options_.importance->of(tensor.name, matrix);
  if (const auto expert = expert_tensor(tensor.name); options_.importance && expert) {
    importance = options_.importance->of(expert->stack, expert->expert);
  }
  if (!importance.empty() && importance.size() != values) {
    return refuse(file_, "imatrix-shape",
                  fmt::format("the importance data of {} are for another model: {} columns, not {}",
                              escape(tensor.name), importance.size(), values));
  }
  // Some rows at a time, so that progress is seen.
  const uint64_t step = std::max<uint64_t>(1, (uint64_t{1} << 18) / values);
  kernels::EncodingError error;
  for (uint64_t row = 0; row < rows; row += step) {
    const uint64_t count = std::min(step, rows - row), first = matrix * rows + row;
    error += quantizer_.convert(
        {tensor.format, values},
        tensor.bytes.subspan(first * tensor.row_bytes(), count * tensor.row_bytes()), plan.format,
        importance, out.subspan(first * to_bytes, count * to_bytes));
    advance(count * values);
  }
  return error;
}

Status Conversion::convert(const TensorPlan& plan, std::span<std::byte> out) {
  const gguf::TensorView& tensor = *plan.tensor;
  TensorResult result{&plan, {}};
  if (plan.converts()) {
    if (const auto block = gguf::find_corrupt_block(tensor)) {
      return refuse(file_, "weights-corrupt",
                    fmt::format("tensor {}: block {} has a value or scale that is NaN or infinite; "
                                "the file is damaged",
                                escape(tensor.name), *block));
    }
    result.error.emplace();
    for (uint64_t matrix = 0; matrix < tensor.shape[2] * tensor.shape[3]; ++matrix) {
      QUERN_TRY(const kernels::EncodingError error, convert_matrix(plan, matrix, out));
      *result.error += error;
    }
  } else {
    std::memcpy(out.data(), tensor.bytes.data(), out.size());
    advance(tensor.elements());
  }
  file_.release(tensor.bytes);
  QUERN_CHECK(file_.check_unchanged());
  if (options_.done) options_.done(result);
  return {};
}

void set_metadata(const gguf::File& file, const RequantizeOptions& options, gguf::Writer& writer) {
  for (const gguf::MetadataEntry& entry : file.metadata()) {
    // The result is one file with our own alignment.
    if (!entry.key.starts_with("split.") && entry.key != "general.alignment") writer.copy(entry);
  }
  writer.set("general.file_type", options.mix->file_type);
  writer.set("general.quantization_version", uint32_t{2});
  if (options.importance) {
    writer.set("quantize.imatrix.entries_count",
               static_cast<int32_t>(options.importance->tensors.size()));
    writer.set("quantize.imatrix.chunks_count", static_cast<int32_t>(options.importance->chunks));
  }
}

// Describes the new file and gives the writer to `finish`, which asks it for the bytes.
template <typename Finish>
auto convert(const gguf::File& file, std::span<const TensorPlan> plan,
             const RequantizeOptions& options, Finish&& finish) {
  gguf::Writer writer;
  set_metadata(file, options, writer);
  uint64_t elements = 0;
  for (const TensorPlan& entry : plan) elements += entry.tensor->elements();
  Conversion conversion(file, options, elements);
  for (const TensorPlan& entry : plan) {
    const auto& shape = entry.tensor->shape;
    writer.add_tensor(std::string(entry.tensor->name), entry.format,
                      {shape.begin(), shape.begin() + entry.tensor->dims},
                      [&](std::span<std::byte> out) { return conversion.convert(entry, out); });
  }
  for (const gguf::NumberTensorView& numbers : file.number_tensors()) writer.copy(numbers);
  return finish(writer);
}

}  // namespace

Result<std::vector<TensorPlan>> plan_formats(const gguf::File& file, const Mix& mix,
                                             std::span<const FormatOverride> overrides,
                                             bool has_importance) {
  QUERN_TRY(const MixSubject subject, mix_subject(file, has_importance));
  const MixTensors mixed(file, subject.experts);
  const auto formats = apply_mix(mix, subject, mixed.tensors);
  std::vector<TensorPlan> plan;
  for (size_t i = 0; i < mixed.of.size(); ++i) {
    const gguf::TensorView& tensor = file.tensors()[i];
    plan.push_back({&tensor, formats[mixed.of[i]].value_or(tensor.format)});
  }
  for (const FormatOverride& rule : overrides) QUERN_CHECK(apply_override(file, rule, plan));
  QUERN_CHECK(check_stacks(file, mixed, plan));
  return plan;
}

Status requantize(const gguf::File& file, std::span<const TensorPlan> plan,
                  const RequantizeOptions& options, const std::string& path) {
  return catch_exceptions([&] {
    return convert(file, plan, options, [&](const auto& writer) { return writer.write(path); });
  });
}

Result<std::vector<std::byte>> requantized(const gguf::File& file, std::span<const TensorPlan> plan,
                                           const RequantizeOptions& options) {
  return catch_exceptions([&] {
    return convert(file, plan, options, [](const auto& writer) { return writer.bytes(); });
  });
}

}  // namespace quern::engine

// File: opens one file or all parts of a split model and joins their tensors.
#include "gguf/file.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "gguf/exceptions.h"
#include "gguf/part.h"
#include "gguf/split.h"

namespace quern::gguf {

struct File::Impl {
  std::vector<Part> parts;
  std::vector<TensorView> tensors;
  std::vector<NumberTensorView> number_tensors;
  NameIndex<TensorView, &TensorView::name> tensor_index;
  NameIndex<NumberTensorView, &NumberTensorView::name> number_tensor_index;
  std::vector<std::string> warnings;
};

namespace {

Result<Part> load(const std::string& path, const OpenOptions& options) {
  QUERN_TRY(Contents contents, Contents::open(path, options));
  return parse_part(std::move(contents), path);
}

// Tensor names are unique over all parts.
Status check_names(std::span<const Part> parts) {
  std::vector<Placement> all;
  for (const Part& part : parts) {
    all.insert(all.end(), part.placements.begin(), part.placements.end());
  }
  const NameIndex<Placement, &Placement::name> index(all);
  const auto same = index.duplicate();
  if (!same) return {};

  size_t k = 0;  // the part that holds the later one
  for (size_t i = same->second; i >= parts[k].placements.size(); ++k) {
    i -= parts[k].placements.size();
  }
  const std::string_view name = all[same->second].name;
  const auto at = static_cast<uint64_t>(reinterpret_cast<const std::byte*>(name.data()) -
                                        parts[k].contents.bytes().data()) -
                  8;
  return tl::unexpected(
      to_error({"name-duplicate",
                {"name of tensor", same->second},
                at,
                escape(name),
                "a name that no other tensor has",
                "duplicate tensor name " + escape(name) + " (tensors " +
                    std::to_string(same->first) + " and " + std::to_string(same->second) + ")"},
               parts[k].path));
}

// Blocks are decoded as quantization version 2 defines them.
Status check_quantization_version(const Part& first, std::span<const TensorView> tensors) {
  constexpr std::string_view kKey = "general.quantization_version";
  const Value* value = first.find(kKey);
  const auto quantized = [](const TensorView& t) { return !info(t.format).is_float(); };
  if (!value || std::ranges::none_of(tensors, quantized)) return {};
  const auto version = value->as_u64();
  if (!version) {
    const std::string type(name(value->type()));
    return first.fail_value("key-type", kKey, type, "u32",
                            "key " + escape(kKey) + ": found " + type + ", expected u32");
  }
  const std::string found = std::to_string(*version);
  if (*version == 2) return {};
  return first.fail_value("quant-version", kKey, found, "2",
                          "quantization version " + found + ", only 2 is supported");
}

// Loads all parts of the model that `opened` belongs to, given the paths of all of them.
Result<std::vector<Part>> load_siblings(Part opened, const SplitKeys& keys,
                                        std::span<const std::string> paths,
                                        const OpenOptions& options) {
  std::vector<Part> parts(paths.size());
  parts[keys.number] = std::move(opened);
  for (uint64_t k = 0; k < paths.size(); ++k) {
    if (k == keys.number) continue;
    std::error_code ignored;
    if (!std::filesystem::exists(paths[k], ignored)) {
      const std::string name = std::filesystem::path(paths[k]).filename().string();
      return tl::unexpected(Error{ErrorKind::kBadInput, "split-missing",
                                  "part " + std::to_string(k + 1) + " of " +
                                      std::to_string(paths.size()) + " is missing: " + escape(name),
                                  paths[keys.number], "file name", std::nullopt, "absent",
                                  escape(name)});
    }
    QUERN_TRY(parts[k], load(paths[k], options));
  }
  return parts;
}

// Runs `open`; memory exhausted by a huge header is an error like any other.
template <typename Open>
Result<File> without_exceptions(const std::string& path, Open open) {
  Result<File> file = catch_exceptions(open);
  // Parsed from what is no longer there, it may look right.
  if (file) QUERN_CHECK(file->check_unchanged());
  if (!file && file.error().path.empty()) file.error().path = path;
  return file;
}

}  // namespace

// Joins parsed parts into a File.
struct File::Assembler {
  static Result<File> assemble(std::vector<Part> parts, std::vector<std::string> warnings = {}) {
    QUERN_CHECK(check_parts(parts));
    QUERN_CHECK(check_names(parts));
    auto impl = std::make_unique<Impl>();
    impl->warnings = std::move(warnings);
    for (Part& part : parts) {
      // A single part gives its tables away, so a large file needs them only once.
      take(impl->tensors, part.tensors);
      take(impl->number_tensors, part.number_tensors);
      for (const std::string& warning : part.warnings) {
        const std::string name = std::filesystem::path(part.path).filename().string();
        impl->warnings.push_back(parts.size() > 1 ? escape(name) + ": " + warning : warning);
      }
      part.placements = {};
    }
    QUERN_CHECK(check_quantization_version(parts[0], impl->tensors));
    impl->tensor_index = decltype(impl->tensor_index)(impl->tensors);
    impl->number_tensor_index = decltype(impl->number_tensor_index)(impl->number_tensors);
    impl->parts = std::move(parts);
    return File(std::move(impl));
  }

 private:
  template <typename T>
  static void take(std::vector<T>& all, std::vector<T>& some) {
    if (all.empty()) {
      all = std::move(some);
    } else {
      all.insert(all.end(), some.begin(), some.end());
    }
    some = {};
  }
};

Result<File> File::open(const std::string& path, const OpenOptions& options) {
  return without_exceptions(path, [&]() -> Result<File> {
    QUERN_TRY(Part opened, load(path, options));
    QUERN_TRY(const SplitKeys keys, read_split_keys(opened));
    std::vector<Part> parts;
    if (keys.count == 1) {
      parts.push_back(std::move(opened));
      return Assembler::assemble(std::move(parts));
    }
    QUERN_TRY(const auto paths, split_paths(path, keys));
    QUERN_TRY(parts, load_siblings(std::move(opened), keys, paths, options));
    std::vector<std::string> warnings;
    if (keys.number != 0) {
      const std::string first = std::filesystem::path(paths[0]).filename().string();
      warnings.push_back("part " + std::to_string(keys.number + 1) + " of " +
                         std::to_string(keys.count) + " was given; the model starts with " +
                         escape(first));
    }
    return Assembler::assemble(std::move(parts), std::move(warnings));
  });
}

Result<File> File::open_parts(std::span<const std::string> paths, const OpenOptions& options) {
  if (paths.empty()) return bad_input("open", "no file was given");
  return without_exceptions(paths[0], [&]() -> Result<File> {
    std::vector<Part> parts;
    for (const std::string& path : paths) {
      QUERN_TRY(Part part, load(path, options));
      parts.push_back(std::move(part));
    }
    return Assembler::assemble(std::move(parts));
  });
}

Result<File> File::from_contents(Contents contents, std::string name) {
  return without_exceptions(name, [&]() -> Result<File> {
    std::vector<Part> parts;
    QUERN_TRY(Part part, parse_part(std::move(contents), name));
    parts.push_back(std::move(part));
    return Assembler::assemble(std::move(parts));
  });
}

Result<File> File::from_bytes(std::span<const std::byte> bytes, std::string name) {
  return from_contents(Contents::view(bytes), std::move(name));
}

Result<File> File::from_header(std::span<const std::byte> header, uint64_t size, std::string name) {
  QUERN_TRY(Contents contents, Contents::padded(header, std::max<uint64_t>(size, header.size())));
  return from_contents(std::move(contents), std::move(name));
}

File::File(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
File::File(File&&) noexcept = default;
File& File::operator=(File&&) noexcept = default;
File::~File() = default;

File File::share() const { return File(impl_); }

const std::string& File::path() const { return impl_->parts[0].path; }
uint32_t File::version() const { return impl_->parts[0].version; }

Status File::check_unchanged() const {
  for (const Part& part : impl_->parts) {
    Status status = part.contents.check_unchanged();
    if (!status) {
      status.error().path = part.path;
      return status;
    }
  }
  return {};
}

void File::release(std::span<const std::byte> bytes) const {
  for (const Part& part : impl_->parts) part.contents.release(bytes);
}

std::vector<File::PartView> File::parts() const {
  std::vector<PartView> views;
  for (const Part& part : impl_->parts) views.push_back({part.path, part.contents.bytes()});
  return views;
}

uint64_t File::size_bytes() const {
  uint64_t total = 0;
  for (const Part& part : impl_->parts) total += part.contents.bytes().size();
  return total;
}

std::span<const MetadataEntry> File::metadata() const { return impl_->parts[0].metadata; }
const Value* File::find(std::string_view key) const { return impl_->parts[0].find(key); }

std::string_view File::text(std::string_view key, std::string_view fallback) const {
  const Value* value = find(key);
  return value ? value->as_string().value_or(fallback) : fallback;
}

std::span<const TensorView> File::tensors() const { return impl_->tensors; }
const TensorView* File::find_tensor(std::string_view name) const {
  return impl_->tensor_index.find(name);
}
std::span<const NumberTensorView> File::number_tensors() const { return impl_->number_tensors; }
const NumberTensorView* File::find_number_tensor(std::string_view name) const {
  return impl_->number_tensor_index.find(name);
}
std::span<const std::string> File::warnings() const { return impl_->warnings; }

}  // namespace quern::gguf

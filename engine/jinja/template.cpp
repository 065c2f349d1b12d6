// The border: failures become errors here.
#include "engine/jinja/template.h"

#include "engine/jinja/interpreter.h"
#include "engine/jinja/parser.h"
#include "gguf/exceptions.h"

namespace quern::engine::jinja {
namespace {

constexpr size_t kMaxSourceBytes = 1u << 20;  // real templates have at most about 50 KB

tl::unexpected<Error> to_error(const Failure& failure) {
  const ErrorKind kind =
      failure.code == "template-unsupported" ? ErrorKind::kUnsupported : ErrorKind::kBadInput;
  const std::string line = failure.line > 0 ? ", line " + std::to_string(failure.line) : "";
  auto result = fail(kind, failure.code, "the chat template" + line + ": " + failure.message);
  result.value().found = failure.found;
  return result;
}

}  // namespace

struct Template::Tree {
  Block block;
};

Template::Template(std::unique_ptr<const Tree> tree) : tree_(std::move(tree)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

Result<Template> Template::parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return bad_input("template-limit", "the chat template has " + std::to_string(source.size()) +
                                           " bytes, more than " + std::to_string(kMaxSourceBytes));
  }
  auto block = jinja::parse(source);
  if (!block) return to_error(*block.error());
  return Template(std::make_unique<const Tree>(Tree{std::move(*block)}));
}

Result<std::string> Template::render(const Variables& variables, const Limits& limits,
                                     std::optional<std::tm> now) const {
  return catch_exceptions([&] { return run(variables, limits, now); });
}

Result<std::string> Template::run(const Variables& variables, const Limits& limits,
                                  std::optional<std::tm> now) const {
  Runtime runtime(limits, now);
  const auto globals = runtime.dict();
  if (!globals) return to_error(*globals.error());
  const auto set = variables(runtime, *globals->as_dict());
  if (!set) return to_error(*set.error());
  TextBuilder out(runtime, limits.output_bytes);
  const auto done = Interpreter(runtime, *globals->as_dict(), out).run(tree_->block);
  if (!done) return to_error(*done.error());
  return out.text();
}

}  // namespace quern::engine::jinja

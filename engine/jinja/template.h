// Template: a chat template, parsed once and rendered many times. The language is Jinja's as model
// files use it (docs/chat-templates.md); there is no input or output and no access beyond the data.
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/jinja/runtime.h"
#include "gguf/result.h"

namespace quern::engine::jinja {

// Immutable, so any number of threads may render one.
class Template {
 public:
  // Errors: "template-syntax", "template-limit", each naming the line of the template.
  static Result<Template> parse(std::string_view source);

  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // Sets what the template sees by name.
  using Variables = std::function<Eval<void>(Runtime&, Dict& variables)>;

  // Errors, each with the line of the template: "template-value", "template-unsupported" (no such
  // filter or test), "template-limit", "template-raised" (raise_exception; `found` is the
  // template's own message); "out-of-memory".
  Result<std::string> render(const Variables& variables, const Limits& limits = {},
                             std::optional<std::tm> now = std::nullopt) const;

 private:
  struct Tree;
  Result<std::string> run(const Variables& variables, const Limits& limits,
                          std::optional<std::tm> now) const;
  explicit Template(std::unique_ptr<const Tree> tree);
  std::unique_ptr<const Tree> tree_;
};

}  // namespace quern::engine::jinja

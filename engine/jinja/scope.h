// Scope: the variables of a template, a loop iteration or a macro call.
#pragma once

#include <memory>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "engine/jinja/runtime.h"

namespace quern::engine::jinja {

class Scope {
 public:
  Scope(Runtime& runtime, std::shared_ptr<const Scope> outer)
      : outer_(std::move(outer)), memory_(runtime) {}

  // In this scope or one around it; nullptr if there is none.
  const Value* find(std::string_view name) const {
    for (const Scope* scope = this; scope; scope = scope->outer_.get()) {
      const auto found = scope->variables_.find(name);
      if (found != scope->variables_.end()) return &found->second;
    }
    return nullptr;
  }

  // In this scope; `name` is a view into the template.
  Eval<void> set(std::string_view name, Value value) {
    const auto [position, added] = variables_.try_emplace(name);
    position->second = std::move(value);
    return added ? memory_.take(kVariableBytes) : Eval<void>();
  }

 private:
  static constexpr size_t kVariableBytes = 80;  // a node of the map, about
  std::shared_ptr<const Scope> outer_;
  std::unordered_map<std::string_view, Value> variables_;
  Runtime::Scratch memory_;
};

}  // namespace quern::engine::jinja

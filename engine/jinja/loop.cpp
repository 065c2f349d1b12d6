// Attributes and methods of `loop`.
#include "engine/jinja/loop.h"

namespace quern::engine::jinja {

Value Loop::attribute(std::string_view name) const {
  const auto number = [](size_t value) { return Value::integer(static_cast<int64_t>(value)); };
  const size_t size = items_.size();
  if (name == "index") return number(index_ + 1);
  if (name == "index0") return number(index_);
  if (name == "first") return Value::boolean(index_ == 0);
  if (name == "last") return Value::boolean(index_ + 1 >= size);
  if (name == "length") return number(size);
  if (name == "revindex") return number(size - std::min(index_, size));
  if (name == "revindex0") return number(size - std::min(index_ + 1, size));
  if (name == "previtem") return index_ > 0 && index_ <= size ? items_[index_ - 1] : Value();
  if (name == "nextitem") return index_ + 1 < size ? items_[index_ + 1] : Value();
  if (name == "depth") return Value::integer(1);   // only recursive loops, which are not offered,
  if (name == "depth0") return Value::integer(0);  // would go deeper
  return {};
}

Method Loop::method(std::string_view name) const {
  if (name == "cycle") return cycle;
  return name == "changed" ? changed : nullptr;
}

Eval<Value> Loop::cycle(Runtime&, const Value& self, const Arguments& arguments) {
  const auto* loop = static_cast<const Loop*>(self.as_object());
  const auto& values = arguments.positional;
  if (values.empty()) return value_failure("loop.cycle() takes at least one value");
  return values[loop->index_ % values.size()];
}

Eval<Value> Loop::changed(Runtime& runtime, const Value& self, const Arguments& arguments) {
  auto* loop = static_cast<Loop*>(self.as_object());
  bool same = loop->was_asked_ && loop->last_.size() == arguments.positional.size();
  for (size_t i = 0; same && i < loop->last_.size(); ++i) {
    QUERN_TRY(same, equal(runtime, loop->last_[i], arguments.positional[i]));
  }
  loop->was_asked_ = true;
  loop->last_ = arguments.positional;
  return Value::boolean(!same);
}

}  // namespace quern::engine::jinja

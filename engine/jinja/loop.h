// Loop: the variable `loop` inside a for block.
#pragma once

#include "engine/jinja/operators.h"
#include "engine/jinja/runtime.h"

namespace quern::engine::jinja {

class Loop : public Object {
 public:
  explicit Loop(std::vector<Value> items) : items_(std::move(items)) {}

  size_t size() const { return items_.size(); }
  const Value& item(size_t index) const { return items_[index]; }
  void move_to(size_t index) { index_ = index; }
  void end() { items_ = {}; }  // a template may keep the object; its items are not needed then

  std::string_view type_name() const override { return "loop"; }
  Value attribute(std::string_view name) const override;
  Method method(std::string_view name) const override;

 private:
  static Eval<Value> cycle(Runtime&, const Value& self, const Arguments& arguments);
  static Eval<Value> changed(Runtime& runtime, const Value& self, const Arguments& arguments);

  std::vector<Value> items_;
  size_t index_ = 0;
  bool was_asked_ = false;
  std::vector<Value> last_;  // arguments of the last changed()
};

}  // namespace quern::engine::jinja

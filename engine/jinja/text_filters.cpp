// Filters on one string or number, and the conversions to and from JSON.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/jinja/methods.h"
#include "engine/jinja/operators.h"
#include "engine/jinja/print.h"
#include "engine/jinja/text.h"
#include "engine/utf8.h"

namespace quern::engine::jinja {
namespace {

template <std::string (*change)(std::string_view)>
Eval<Value> change_case(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  QUERN_TRY(const Value text, to_text(runtime, subject));
  return runtime.text(change(*text.as_text()));
}

Eval<Value> string(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  return to_text(runtime, subject);
}

Eval<Value> safe(Runtime&, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  return subject;  // nothing is escaped automatically
}

Eval<Value> trim(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"chars"})));
  QUERN_TRY(const Value text, to_text(runtime, subject));
  if (a[0].is_undefined() || a[0].is_none()) {
    return runtime.text(std::string(strip(*text.as_text(), Side::kBoth)));
  }
  QUERN_TRY(const std::string characters, text_argument(a[0], ""));
  QUERN_CHECK(runtime.spend_on_search(text.as_text()->size(), characters.size()));
  return runtime.text(std::string(strip(*text.as_text(), Side::kBoth, characters)));
}

// Python's str.replace(); an empty `old` matches before every character and at the end.
Eval<Value> replace(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<3>(arguments, {"old", "new", "count"})));
  QUERN_TRY(const Value holder, to_text(runtime, subject));
  QUERN_TRY(const Value old_value, to_text(runtime, a[0]));
  QUERN_TRY(const Value new_value, to_text(runtime, a[1]));
  QUERN_TRY(const int64_t limit, integer_argument(a[2], -1));
  const std::string &text = *holder.as_text(), &old_text = *old_value.as_text();
  QUERN_CHECK(runtime.spend_on_search(text.size(), old_text.size()));
  TextBuilder out(runtime);
  uint64_t left = limit < 0 ? UINT64_MAX : static_cast<uint64_t>(limit);
  size_t at = 0;
  for (size_t found = text.find(old_text); found != std::string::npos && left > 0; --left) {
    QUERN_CHECK(runtime.spend(1));
    QUERN_CHECK(out.append(std::string_view(text).substr(at, found - at)));
    QUERN_CHECK(out.append(*new_value.as_text()));
    at = found + old_text.size();
    size_t next = at;
    if (old_text.empty()) next = at < text.size() ? at + utf8::decode(text, at).length : at + 1;
    found = next > text.size() ? std::string::npos : text.find(old_text, next);
  }
  QUERN_CHECK(out.append(std::string_view(text).substr(at)));
  return out.finish();
}

Eval<Value> indent(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<3>(arguments, {"width", "first", "blank"})));
  QUERN_TRY(const Value holder, to_text(runtime, subject));
  TextBuilder indentation(runtime);
  if (const std::string* text = a[0].as_text()) {
    QUERN_CHECK(indentation.append(*text));
  } else {
    QUERN_TRY(const int64_t width, integer_argument(a[0], 4));
    QUERN_CHECK(indentation.append(static_cast<size_t>(std::max<int64_t>(width, 0)), ' '));
  }
  Runtime::Scratch scratch(runtime);
  QUERN_CHECK(scratch.take((holder.as_text()->size() + 1) * sizeof(std::string_view)));
  const std::string text = *holder.as_text() + '\n';  // so that a last empty line is a line
  TextBuilder out(runtime);
  bool is_first = true;
  for (const auto line : lines(text, false)) {
    if (!is_first) QUERN_CHECK(out.append(1, '\n'));
    const bool indented = is_first ? a[1].truthy() : a[2].truthy() || !line.empty();
    if (indented) QUERN_CHECK(out.append(indentation.text()));
    QUERN_CHECK(out.append(line));
    is_first = false;
  }
  return out.finish();
}

Eval<Value> wordcount(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  QUERN_TRY(const Value text, to_text(runtime, subject));
  int64_t words = 0;
  bool inside = false;
  for (const char c : *text.as_text()) {
    const bool part = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      c == '_' || static_cast<uint8_t>(c) >= 0x80;
    words += part && !inside;
    inside = part;
  }
  return Value::integer(words);
}

Eval<Value> escape_html(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  QUERN_TRY(const Value text, to_text(runtime, subject));
  TextBuilder out(runtime);
  for (const char& c : *text.as_text()) {
    const std::string_view entity = c == '&'    ? "&amp;"
                                    : c == '<'  ? "&lt;"
                                    : c == '>'  ? "&gt;"
                                    : c == '"'  ? "&#34;"
                                    : c == '\'' ? "&#39;"
                                                : std::string_view(&c, 1);
    QUERN_CHECK(out.append(entity));
  }
  return out.finish();
}

std::optional<int64_t> truncated(double number) {
  if (!(std::abs(number) < 0x1p63)) return std::nullopt;  // NaN, too
  return static_cast<int64_t>(number);
}

Eval<Value> to_integer(Runtime&, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"default", "base"})));
  QUERN_TRY(const int64_t base, integer_argument(a[1], 10));
  if (base < 2 || base > 36) return value_failure("int() takes a base from 2 to 36");
  std::optional<int64_t> result = subject.as_integer();
  if (const std::string* text = subject.as_text()) {
    result = parse_integer(*text, static_cast<int>(base));
    if (const auto number = parse_float(*text); !result && number) result = truncated(*number);
  } else if (const auto number = subject.as_number(); !result && number) {
    result = truncated(*number);
  }
  if (result) return Value::integer(*result);
  return a[0].is_undefined() ? Value::integer(0) : a[0];
}

Eval<Value> to_float(Runtime&, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"default"})));
  const std::string* text = subject.as_text();
  const auto result = text ? parse_float(*text) : subject.as_number();
  if (result) return Value::real(*result);
  return a[0].is_undefined() ? Value::real(0) : a[0];
}

Eval<Value> absolute(Runtime&, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  const auto number = subject.as_number();
  if (!number) return value_failure("abs needs a number");
  if (subject.as_integer()) return *number < 0 ? negate(subject) : subject;
  return Value::real(std::abs(*number));
}

// To the nearest decimal with `digits` places, ties of the exact binary value to even.
double round_decimal(double number, int64_t digits) {
  if (digits < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(number / unit) * unit;
  }
  char buffer[1024];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::fixed,
                                 static_cast<int>(digits));
  return parse_float({buffer, end.ptr}).value_or(number);
}

Eval<Value> round(Runtime&, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"precision", "method"})));
  QUERN_TRY(const int64_t precision, integer_argument(a[0], 0));
  QUERN_TRY(const std::string method, text_argument(a[1], "common"));
  const auto number = subject.as_number();
  if (!number) return value_failure("round needs a number");
  const int64_t digits = std::clamp<int64_t>(precision, -300, 300);
  if (method == "common") {
    if (subject.as_integer() && digits >= 0) return subject;
    return Value::real(std::isfinite(*number) ? round_decimal(*number, digits) : *number);
  }
  const double unit = std::pow(10.0, static_cast<double>(digits));
  if (method == "ceil") return Value::real(std::ceil(*number * unit) / unit);
  if (method == "floor") return Value::real(std::floor(*number * unit) / unit);
  return value_failure("round knows the methods common, ceil and floor");
}

Eval<Value> to_json(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_TRY(const auto a,
            (bind<4>(arguments, {"ensure_ascii", "indent", "separators", "sort_keys"})));
  JsonStyle style{.ascii_only = a[0].truthy(), .sort_keys = a[3].truthy(), .indent = {}};
  if (const std::string* text = a[1].as_text()) {
    style.indent = *text;
  } else if (const auto width = a[1].as_integer()) {
    if (*width > 64) return value_failure("tojson takes an indent of at most 64");
    style.indent = std::string(static_cast<size_t>(std::max<int64_t>(*width, 0)), ' ');
  }
  if (const List* separators = a[2].as_list()) {
    if (separators->items.size() != 2) return value_failure("tojson takes two separators");
    QUERN_TRY(style.item_separator, text_argument(separators->items[0], ""));
    QUERN_TRY(style.key_separator, text_argument(separators->items[1], ""));
  } else if (style.indent) {
    style.item_separator = ",";
  }
  TextBuilder out(runtime);
  QUERN_CHECK(print_json(runtime, subject, style, out));
  return out.finish();
}

Eval<Value> from_json(Runtime& runtime, const Value& subject, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  const std::string* text = subject.as_text();
  if (!text) return subject;
  // The parser's ordered dicts look up keys one by one: quadratic at worst.
  QUERN_CHECK(runtime.spend(static_cast<uint64_t>(text->size()) * text->size() / 4096));
  const auto json = nlohmann::ordered_json::parse(*text, nullptr, false);
  if (json.is_discarded()) return value_failure("from_json needs valid JSON");
  return runtime.from_json(json);
}

constexpr NamedFunction kFilters[] = {
    {"abs", absolute},
    {"capitalize", change_case<capitalize>},
    {"e", escape_html},
    {"escape", escape_html},
    {"float", to_float},
    {"from_json", from_json},
    {"fromjson", from_json},
    {"indent", indent},
    {"int", to_integer},
    {"lower", change_case<lower>},
    {"replace", replace},
    {"round", round},
    {"safe", safe},
    {"string", string},
    {"title", change_case<title>},
    {"tojson", to_json},
    {"trim", trim},
    {"upper", change_case<upper>},
    {"wordcount", wordcount},
};

}  // namespace

std::span<const NamedFunction> text_filters() { return kFilters; }

}  // namespace quern::engine::jinja

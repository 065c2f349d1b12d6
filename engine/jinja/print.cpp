// Writers for output, repr and JSON. Each node of the value costs a step: a list may hold itself.
#include "engine/jinja/print.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/jinja/text.h"
#include "engine/utf8.h"

namespace quern::engine::jinja {
namespace {

std::string hex(const char* format, uint32_t number) {
  char text[16];
  std::snprintf(text, sizeof text, format, number);
  return text;
}

// What one character becomes in a Python string literal with quotes `quote`.
std::string python_escape(std::string_view bytes, char quote) {
  const char c = bytes[0];
  if (c == quote || c == '\\') return std::string("\\") + c;
  if (c == '\n') return "\\n";
  if (c == '\r') return "\\r";
  if (c == '\t') return "\\t";
  const auto byte = static_cast<uint8_t>(c);
  if (byte < 0x20 || byte == 0x7F) return hex("\\x%02x", byte);
  return std::string(bytes);
}

std::string json_escape(std::string_view bytes, char32_t code, bool ascii_only) {
  switch (code) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    default:
      break;
  }
  if (code < 0x20) return hex("\\u%04x", code);
  if (!ascii_only || code < 0x7F) return std::string(bytes);
  if (code < 0x10000) return hex("\\u%04x", code);
  return hex("\\u%04x", 0xD800 + ((code - 0x10000) >> 10)) +
         hex("\\u%04x", 0xDC00 + ((code - 0x10000) & 0x3FF));
}

Eval<void> quote_python(const std::string& text, TextBuilder& out) {
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  QUERN_CHECK(out.append(1, quote));
  for (const char& c : text) QUERN_CHECK(out.append(python_escape({&c, 1}, quote)));
  return out.append(1, quote);
}

Eval<void> quote_json(const std::string& text, bool ascii_only, TextBuilder& out) {
  QUERN_CHECK(out.append(1, '"'));
  for (size_t at = 0; at < text.size();) {
    const auto character = utf8::decode(text, at);
    const std::string_view bytes = std::string_view(text).substr(at, character.length);
    QUERN_CHECK(out.append(json_escape(bytes, character.code, ascii_only)));
    at += character.length;
  }
  return out.append(1, '"');
}

Eval<void> repr(Runtime& runtime, const Value& value, TextBuilder& out);

Eval<void> repr_list(Runtime& runtime, const List& list, TextBuilder& out) {
  QUERN_CHECK(out.append(1, list.is_tuple ? '(' : '['));
  bool first = true;
  for (const Value& item : list.items) {
    if (!std::exchange(first, false)) QUERN_CHECK(out.append(", "));
    QUERN_CHECK(repr(runtime, item, out));
  }
  if (list.is_tuple && list.items.size() == 1) QUERN_CHECK(out.append(1, ','));
  return out.append(1, list.is_tuple ? ')' : ']');
}

Eval<void> repr_dict(Runtime& runtime, const Dict& dict, TextBuilder& out) {
  QUERN_CHECK(out.append(1, '{'));
  bool first = true;
  for (const auto& [key, item] : dict.entries()) {
    if (!std::exchange(first, false)) QUERN_CHECK(out.append(", "));
    QUERN_CHECK(repr(runtime, key, out));
    QUERN_CHECK(out.append(": "));
    QUERN_CHECK(repr(runtime, item, out));
  }
  return out.append(1, '}');
}

Eval<void> repr(Runtime& runtime, const Value& value, TextBuilder& out) {
  const Runtime::Nesting nesting(runtime);
  QUERN_CHECK(nesting.check());
  QUERN_CHECK(runtime.spend(1));
  switch (value.kind()) {
    case Kind::kUndefined:
      return out.append("Undefined");
    case Kind::kNone:
      return out.append("None");
    case Kind::kBool:
      return out.append(value.truthy() ? "True" : "False");
    case Kind::kInteger:
      return out.append(std::to_string(*value.as_integer()));
    case Kind::kFloat:
      return out.append(float_text(*value.as_number()));
    case Kind::kString:
      return quote_python(*value.as_text(), out);
    case Kind::kList:
      return repr_list(runtime, *value.as_list(), out);
    case Kind::kDict:
      return repr_dict(runtime, *value.as_dict(), out);
    case Kind::kObject:
      return out.append("<" + std::string(value.type_name()) + ">");
  }
  return {};
}

class JsonPrinter {
 public:
  JsonPrinter(Runtime& runtime, const JsonStyle& style, TextBuilder& out)
      : runtime_(runtime), style_(style), out_(out) {}

  Eval<void> print(const Value& value) {
    const Runtime::Nesting nesting(runtime_);
    QUERN_CHECK(nesting.check());
    QUERN_CHECK(runtime_.spend(1));
    if (value.is_none()) return out_.append("null");
    if (value.is(Kind::kBool)) return out_.append(value.truthy() ? "true" : "false");
    if (const auto integer = value.as_integer()) return out_.append(std::to_string(*integer));
    if (const auto number = value.as_number()) return out_.append(json_float(*number));
    if (const std::string* text = value.as_text()) {
      return quote_json(*text, style_.ascii_only, out_);
    }
    if (const List* list = value.as_list()) return print_list(*list);
    if (const Dict* dict = value.as_dict()) return print_dict(*dict);
    return value_failure("a value that is " + std::string(value.type_name()) +
                         " cannot be written as JSON");
  }

 private:
  static std::string json_float(double number) {
    if (std::isfinite(number)) return float_text(number);
    return std::isnan(number) ? "NaN" : number < 0 ? "-Infinity" : "Infinity";
  }

  // What stands before an item, or before the closing bracket.
  Eval<void> start_line(bool separate) {
    if (!style_.indent) return separate ? out_.append(style_.item_separator) : Eval<void>();
    if (separate) QUERN_CHECK(out_.append(strip(style_.item_separator, Side::kRight)));
    QUERN_CHECK(out_.append("\n"));
    for (uint32_t i = 0; i < level_; ++i) QUERN_CHECK(out_.append(*style_.indent));
    return {};
  }

  Eval<void> print_list(const List& list) {
    if (list.items.empty()) return out_.append("[]");
    QUERN_CHECK(out_.append("["));
    ++level_;
    bool first = true;
    for (const Value& item : list.items) {
      QUERN_CHECK(start_line(!std::exchange(first, false)));
      QUERN_CHECK(print(item));
    }
    --level_;
    if (style_.indent) QUERN_CHECK(start_line(false));
    return out_.append("]");
  }

  Eval<void> print_key(const Value& key) {
    if (const std::string* text = key.as_text()) return quote_json(*text, style_.ascii_only, out_);
    QUERN_CHECK(out_.append("\""));
    QUERN_CHECK(print(key));
    return out_.append("\"");
  }

  Eval<void> print_dict(const Dict& dict) {
    if (dict.entries().empty()) return out_.append("{}");
    std::vector<const Dict::Entry*> entries;
    for (const auto& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(), [](const auto* a, const auto* b) {
        const std::string *left = a->key.as_text(), *right = b->key.as_text();
        return left && right && *left < *right;
      });
    }
    QUERN_CHECK(out_.append("{"));
    ++level_;
    bool first = true;
    for (const auto* entry : entries) {
      QUERN_CHECK(start_line(!std::exchange(first, false)));
      QUERN_CHECK(print_key(entry->key));
      QUERN_CHECK(out_.append(style_.key_separator));
      QUERN_CHECK(print(entry->value));
    }
    --level_;
    if (style_.indent) QUERN_CHECK(start_line(false));
    return out_.append("}");
  }

  Runtime& runtime_;
  const JsonStyle& style_;
  TextBuilder& out_;
  uint32_t level_ = 0;
};

}  // namespace

Eval<void> print(Runtime& runtime, const Value& value, TextBuilder& out) {
  if (value.is_undefined()) return {};
  if (const std::string* text = value.as_text()) return out.append(*text);
  return repr(runtime, value, out);
}

Eval<Value> to_text(Runtime& runtime, const Value& value) {
  if (value.as_text()) return value;
  TextBuilder out(runtime);
  QUERN_CHECK(print(runtime, value, out));
  return out.finish();
}

Eval<void> print_json(Runtime& runtime, const Value& value, const JsonStyle& style,
                      TextBuilder& out) {
  return JsonPrinter(runtime, style, out).print(value);
}

}  // namespace quern::engine::jinja

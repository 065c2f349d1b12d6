// Python's methods of strings, over code points.
#include <algorithm>

#include "engine/jinja/methods.h"
#include "engine/jinja/print.h"
#include "engine/jinja/text.h"
#include "engine/utf8.h"

namespace quern::engine::jinja {
namespace {

using Texts = std::vector<std::string_view>;  // parts of one string

Eval<Value> list_of(Runtime& runtime, const Texts& parts) {
  std::vector<Value> items;
  for (const auto part : parts) {
    QUERN_TRY(Value item, runtime.text(std::string(part)));
    items.push_back(std::move(item));
  }
  return runtime.list(std::move(items));
}

// Cuts at runs of white space, at most `cuts` times; no empty parts.
Texts split_at_space(std::string_view text, uint64_t cuts) {
  Texts parts;
  text = strip(text, Side::kLeft);
  while (!text.empty() && cuts-- > 0) {
    size_t end = 0;
    while (end < text.size()) {
      const auto character = utf8::decode(text, end);
      if (character.valid && is_space(character.code)) break;
      end += character.length;
    }
    parts.push_back(text.substr(0, end));
    text = strip(text.substr(end), Side::kLeft);
  }
  if (!text.empty()) parts.push_back(text);
  return parts;
}

Texts split_at(std::string_view text, std::string_view separator, uint64_t cuts) {
  Texts parts;
  for (size_t end = text.find(separator); end != std::string_view::npos && cuts-- > 0;
       end = text.find(separator)) {
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end + separator.size());
  }
  parts.push_back(text);
  return parts;
}

// From the right; the parts are still in reading order.
Texts split_from_right(std::string_view text, std::string_view separator, uint64_t cuts) {
  Texts parts;
  for (size_t at = text.rfind(separator); at != std::string_view::npos && cuts-- > 0;
       at = text.rfind(separator)) {
    parts.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  parts.push_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

Texts split_at_space_from_right(std::string_view text, uint64_t cuts) {
  Texts words = split_at_space(text, UINT64_MAX);
  if (words.size() <= cuts) return words;
  // The first part is everything up to the last word that is not cut off.
  const auto last = words.end() - 1 - static_cast<ptrdiff_t>(cuts);
  const std::string_view head(text.data(), last->data() + last->size() - text.data());
  words.erase(words.begin(), last);
  words.front() = head;
  return words;
}

Eval<Value> split_method(Runtime& runtime, const Value& self, const Arguments& arguments,
                         bool from_right) {
  QUERN_TRY(const auto a, (bind<2>(arguments, {"sep", "maxsplit"})));
  const std::string& text = *self.as_text();
  QUERN_TRY(const int64_t limit, integer_argument(a[1], -1));
  const uint64_t cuts = limit < 0 ? UINT64_MAX : static_cast<uint64_t>(limit);
  QUERN_CHECK(runtime.spend(text.size() / 16));
  Runtime::Scratch scratch(runtime);
  QUERN_CHECK(scratch.take(text.size() * sizeof(std::string_view)));
  if (a[0].is_undefined() || a[0].is_none()) {
    return list_of(runtime,
                   from_right ? split_at_space_from_right(text, cuts) : split_at_space(text, cuts));
  }
  QUERN_TRY(const std::string separator, text_argument(a[0], ""));
  if (separator.empty()) return value_failure("split() needs a separator that is not empty");
  QUERN_CHECK(runtime.spend_on_search(text.size(), separator.size()));
  return list_of(runtime, from_right ? split_from_right(text, separator, cuts)
                                     : split_at(text, separator, cuts));
}

Eval<Value> split(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return split_method(runtime, self, arguments, false);
}
Eval<Value> rsplit(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return split_method(runtime, self, arguments, true);
}

template <Side side>
Eval<Value> strip_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"chars"})));
  const std::string& text = *self.as_text();
  if (a[0].is_undefined() || a[0].is_none()) return runtime.text(std::string(strip(text, side)));
  QUERN_TRY(const std::string characters, text_argument(a[0], ""));
  QUERN_CHECK(runtime.spend_on_search(text.size(), characters.size()));
  return runtime.text(std::string(strip(text, side, characters)));
}

// Whether `matches(text, candidate)` for the argument, or for one of a tuple of them.
template <typename Matches>
Eval<Value> any_affix(const Value& self, const Arguments& arguments, Matches matches) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"affix"})));
  std::vector<Value> candidates = {a[0]};
  if (const List* list = a[0].as_list()) candidates = list->items;
  for (const Value& candidate : candidates) {
    if (!candidate.as_text()) {
      return value_failure("a string is expected, not a " + std::string(candidate.type_name()));
    }
    if (matches(*self.as_text(), *candidate.as_text())) return Value::boolean(true);
  }
  return Value::boolean(false);
}

Eval<Value> startswith(Runtime&, const Value& self, const Arguments& arguments) {
  return any_affix(self, arguments, [](const std::string& text, const std::string& affix) {
    return text.starts_with(affix);
  });
}
Eval<Value> endswith(Runtime&, const Value& self, const Arguments& arguments) {
  return any_affix(self, arguments, [](const std::string& text, const std::string& affix) {
    return text.ends_with(affix);
  });
}

Eval<Value> removeprefix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"prefix"})));
  QUERN_TRY(const std::string prefix, text_argument(a[0], ""));
  const std::string& text = *self.as_text();
  return text.starts_with(prefix) ? runtime.text(text.substr(prefix.size())) : self;
}
Eval<Value> removesuffix(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"suffix"})));
  QUERN_TRY(const std::string suffix, text_argument(a[0], ""));
  const std::string& text = *self.as_text();
  return text.ends_with(suffix) ? runtime.text(text.substr(0, text.size() - suffix.size())) : self;
}

template <std::string (*change)(std::string_view)>
Eval<Value> case_method(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  return runtime.text(change(*self.as_text()));
}

Eval<Value> replace(Runtime& runtime, const Value& self, const Arguments& arguments) {
  return call_filter(runtime, "replace", self, arguments);
}

// Position of the first or last occurrence in code points, or -1.
template <bool last>
Eval<Value> find(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"sub"})));
  QUERN_TRY(const std::string part, text_argument(a[0], ""));
  const std::string& text = *self.as_text();
  QUERN_CHECK(runtime.spend_on_search(text.size(), part.size()));
  const size_t at = last ? text.rfind(part) : text.find(part);
  if (at == std::string::npos) return Value::integer(-1);
  return Value::integer(static_cast<int64_t>(utf8::length(std::string_view(text).substr(0, at))));
}

Eval<Value> count(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"sub"})));
  QUERN_TRY(const std::string part, text_argument(a[0], ""));
  const std::string& text = *self.as_text();
  QUERN_CHECK(runtime.spend_on_search(text.size(), part.size()));
  if (part.empty()) return Value::integer(static_cast<int64_t>(utf8::length(text)) + 1);
  int64_t result = 0;
  for (size_t at = text.find(part); at != std::string::npos;
       at = text.find(part, at + part.size())) {
    ++result;
  }
  return Value::integer(result);
}

Eval<Value> join(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"iterable"})));
  return call_filter(runtime, "join", a[0], {.positional = {self}, .named = {}});
}

// The argument that a replacement field names: {} the next one, {0}, {name}.
Eval<Value> format_field(std::string_view name, const Arguments& arguments, size_t& next) {
  const auto position = name.empty() ? static_cast<int64_t>(next++) : parse_integer(name, 10);
  if (position) {
    if (*position >= 0 && static_cast<size_t>(*position) < arguments.positional.size()) {
      return arguments.positional[static_cast<size_t>(*position)];
    }
    return value_failure("format() has fewer arguments than fields");
  }
  for (const auto& [argument, value] : arguments.named) {
    if (argument == name) return value;
  }
  return value_failure("format() fields are {}, {0} or {name}; attributes and formats are not");
}

Eval<Value> format(Runtime& runtime, const Value& self, const Arguments& arguments) {
  const std::string& text = *self.as_text();
  TextBuilder out(runtime);
  size_t next = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t brace = std::min(text.find_first_of("{}", at), text.size());
    QUERN_CHECK(out.append(std::string_view(text).substr(at, brace - at)));
    if (brace == text.size()) break;
    if (brace + 1 < text.size() && text[brace + 1] == text[brace]) {  // {{ is {
      QUERN_CHECK(out.append(1, text[brace]));
      at = brace + 2;
      continue;
    }
    const size_t end = text.find('}', brace);
    if (text[brace] == '}' || end == std::string::npos) {
      return value_failure("format() has a brace without its partner");
    }
    QUERN_CHECK(runtime.spend(1));
    const auto name = std::string_view(text).substr(brace + 1, end - brace - 1);
    QUERN_TRY(const Value value, format_field(name, arguments, next));
    QUERN_CHECK(print(runtime, value, out));
    at = end + 1;
  }
  return out.finish();
}

template <bool (*accepts)(char)>
Eval<Value> all_characters(Runtime&, const Value& self, const Arguments& arguments) {
  QUERN_CHECK(bind<0>(arguments, {}));
  const std::string& text = *self.as_text();
  return Value::boolean(!text.empty() && std::all_of(text.begin(), text.end(), accepts));
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<uint8_t>(c) >= 0x80;
}
bool is_alphanumeric(char c) { return is_digit(c) || is_letter(c); }
bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

Eval<Value> splitlines(Runtime& runtime, const Value& self, const Arguments& arguments) {
  QUERN_TRY(const auto a, (bind<1>(arguments, {"keepends"})));
  Runtime::Scratch scratch(runtime);
  QUERN_CHECK(scratch.take(self.as_text()->size() * sizeof(std::string_view)));
  return list_of(runtime, lines(*self.as_text(), a[0].truthy()));
}

constexpr NamedFunction kMethods[] = {
    {"capitalize", case_method<capitalize>},
    {"count", count},
    {"endswith", endswith},
    {"find", find<false>},
    {"format", format},
    {"isalnum", all_characters<is_alphanumeric>},
    {"isalpha", all_characters<is_letter>},
    {"isdigit", all_characters<is_digit>},
    {"isspace", all_characters<is_ascii_space>},
    {"join", join},
    {"lower", case_method<lower>},
    {"lstrip", strip_method<Side::kLeft>},
    {"removeprefix", removeprefix},
    {"removesuffix", removesuffix},
    {"replace", replace},
    {"rfind", find<true>},
    {"rsplit", rsplit},
    {"rstrip", strip_method<Side::kRight>},
    {"split", split},
    {"splitlines", splitlines},
    {"startswith", startswith},
    {"strip", strip_method<Side::kBoth>},
    {"title", case_method<title>},
    {"upper", case_method<upper>},
};

}  // namespace

std::span<const NamedFunction> text_methods() { return kMethods; }

}  // namespace quern::engine::jinja

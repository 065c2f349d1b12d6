// Checks a report against its JSON Schema: the keywords that the schemas in docs/ use.
#pragma once

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace quern::test {

class JsonSchema {
 public:
  explicit JsonSchema(const std::string& path) {
    std::ifstream file(path);
    root_ = Json::parse(file);
  }

  // The first violation; empty if there is none.
  std::string violation(const nlohmann::json& value) const { return check(root_, value, "$"); }

 private:
  using Json = nlohmann::json;

  static bool is(const Json& value, const std::string& type) {
    return (type == "object" && value.is_object()) || (type == "array" && value.is_array()) ||
           (type == "string" && value.is_string()) || (type == "boolean" && value.is_boolean()) ||
           (type == "integer" && value.is_number_integer()) ||
           (type == "number" && value.is_number()) || (type == "null" && value.is_null());
  }

  std::string check(const Json& schema, const Json& value, const std::string& at) const {
    if (schema.contains("$ref")) {
      const auto& target = schema["$ref"].get_ref<const std::string&>();
      return check(root_.at(Json::json_pointer(target.substr(1))), value, at);
    }
    if (schema.contains("type")) {
      const Json types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
      const auto matches = [&](const Json& type) { return is(value, type); };
      if (std::ranges::none_of(types, matches)) return at + " has the wrong type";
    }
    return value.is_object() ? check_members(schema, value, at) : check_items(schema, value, at);
  }

  std::string check_members(const Json& schema, const Json& value, const std::string& at) const {
    for (const auto& name : schema.value("required", Json::array())) {
      if (!value.contains(name)) return at + " lacks " + name.dump();
    }
    if (!schema.contains("properties")) return {};
    for (const auto& [name, member] : value.items()) {
      if (!schema["properties"].contains(name)) return at + " has an unknown member " + name;
      const auto found = check(schema["properties"][name], member, at + "." + name);
      if (!found.empty()) return found;
    }
    return {};
  }

  std::string check_items(const Json& schema, const Json& value, const std::string& at) const {
    if (!value.is_array() || !schema.contains("items")) return {};
    for (size_t i = 0; i < value.size(); ++i) {
      const auto found = check(schema["items"], value[i], at + "[" + std::to_string(i) + "]");
      if (!found.empty()) return found;
    }
    return {};
  }

  Json root_;
};

}  // namespace quern::test

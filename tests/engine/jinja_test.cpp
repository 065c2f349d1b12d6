// The template language against Jinja2 itself, and its limits.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/jinja/template.h"
#include "tests/golden_path.h"

namespace quern::engine::jinja {
namespace {

using nlohmann::ordered_json;

Result<std::string> render(const std::string& source, const ordered_json& variables = {},
                           const Limits& limits = {}) {
  QUERN_TRY(const Template parsed, Template::parse(source));
  return parsed.render(
      [&](Runtime& runtime, Dict& names) { return runtime.set_members(names, variables); }, limits);
}

// The output of Jinja2 is recorded beside each template.
TEST(Jinja, rendersAsJinja2Does) {
  std::ifstream file(test::own_golden("jinja_cases.json"));
  const auto golden = ordered_json::parse(file);
  ASSERT_GE(golden["cases"].size(), 40u);
  for (const auto& expected : golden["cases"]) {
    const auto source = expected["template"].get<std::string>();
    const auto text = render(source, golden["context"]);
    ASSERT_TRUE(text) << source << "\n" << text.error().to_string();
    EXPECT_EQ(*text, expected["expected"].get<std::string>()) << source;
  }
}

TEST(Jinja, carriageReturnsBecomeNewlinesAndOneFinalNewlineGoes) {
  EXPECT_EQ(render("a\r\nb\rc\n\n").value(), "a\nb\nc\n");
}

// Some templates in the wild reach through values that are not there.
TEST(Jinja, anAttributeOfSomethingUndefinedIsUndefined) {
  EXPECT_EQ(render("[{{ missing.member.more }}]").value(), "[]");
}

TEST(Jinja, errorsNameTheLineOfTheTemplate) {
  for (const char* source :
       {"one\ntwo {{ 'a' + 1 }}", "one\n{{ 1 | nothing }}", "one\n{{ 1 // 0 }}"}) {
    const auto text = render(source);
    ASSERT_FALSE(text) << source;
    EXPECT_NE(text.error().message.find("line 2"), std::string::npos) << text.error().message;
  }
}

TEST(Jinja, refusesWhatIsNotATemplate) {
  for (const char* source :
       {"{% if %}", "{% for x in %}{% endfor %}", "{{ 1 + }}", "{{ 'open }}", "{% endif %}",
        "{% if x %}", "{{ x | }}", "{% macro f( %}{% endmacro %}", "{{ (1 }}", "{% unknown %}"}) {
    const auto parsed = Template::parse(source);
    ASSERT_FALSE(parsed) << source;
    EXPECT_EQ(parsed.error().code, "template-syntax") << source;
    EXPECT_EQ(parsed.error().message.find('\n'), std::string::npos);
  }
}

TEST(Jinja, raiseExceptionCarriesTheTemplatesMessage) {
  const auto text = render("{{ raise_exception('tools are not supported') }}");
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, "template-raised");
  EXPECT_EQ(text.error().found, "tools are not supported");
}

class JinjaLimit : public ::testing::TestWithParam<const char*> {};

// Each would run for ages or exhaust memory or stack without an allowance.
TEST_P(JinjaLimit, endsQuicklyInOneLine) {
  const auto text = render(GetParam());
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().message.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Bombs, JinjaLimit,
    ::testing::Values(
        "{% for i in range(1000000000) %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 'a' * 1000000000 }}",
        "{{ [0] * 1000000000 }}", "{% set x = 2 ** 62 %}{{ x * x }}",
        "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}"
        "{% endfor %}{{ ns.s }}",
        "{% set l = [] %}{% set _ = l.append(l) %}{{ l }}"));

TEST(Jinja, deepNestingIsAnErrorNotAStackOverflow) {
  const auto nested = [](const std::string& open, const std::string& middle,
                         const std::string& close) {
    std::string source;
    for (int i = 0; i < 100000; ++i) source += open;
    source += middle;
    for (int i = 0; i < 100000; ++i) source += close;
    return source;
  };
  for (const std::string& source :
       {"{{ " + nested("(", "1", ")") + " }}", "{{ " + nested("[", "1", "]") + " }}",
        "{{ " + nested("not ", "1", "") + " }}", "{{ " + nested("-", "1", "") + " }}",
        nested("{% if 1 %}", "x", "{% endif %}")}) {
    const auto text = render(source);
    EXPECT_FALSE(text) << source.substr(0, 20);
  }
}

}  // namespace
}  // namespace quern::engine::jinja

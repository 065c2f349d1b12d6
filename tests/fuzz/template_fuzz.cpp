// Any bytes as a chat template, rendered with a small conversation under small limits: one line or
// a text, never a crash, a hang or a leak.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "engine/jinja/template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using quern::engine::jinja::Limits;
  using quern::engine::jinja::Template;
  static const auto kVariables = nlohmann::ordered_json::parse(
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
          "tools": [{"name": "f", "arguments": {"x": 1.5}}], "add_generation_prompt": true,
          "bos_token": "<s>", "eos_token": "</s>"})");
  const auto parsed = Template::parse({reinterpret_cast<const char*>(data), size});
  const Limits limits{
      .steps = 100000, .depth = 100, .output_bytes = 1 << 16, .memory_bytes = 1 << 20};
  if (!parsed) {
    if (parsed.error().message.find('\n') != std::string::npos) std::abort();
    return 0;
  }
  const auto text = parsed->render(
      [&](auto& runtime, auto& names) { return runtime.set_members(names, kVariables); }, limits);
  if (text ? text->size() > limits.output_bytes
           : text.error().message.find('\n') != std::string::npos) {
    std::abort();
  }
  return 0;
}

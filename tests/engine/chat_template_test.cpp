#include "engine/chat_template.h"

#include <gtest/gtest.h>

#include "gguf/writer.h"
#include "tests/golden_path.h"

namespace quern::engine {
namespace {

// A file with the bundled model's vocabulary and another template.
struct TemplateFile {
  std::vector<std::byte> bytes;
  std::optional<gguf::File> file;
  std::optional<Tokenizer> tokenizer;

  explicit TemplateFile(const char* source, const char* tool_use = nullptr) {
    const auto bundled =
        gguf::File::open(std::string(QUERN_SOURCE_DIR) + "/models/quern-tiny-stories-Q4_K_M.gguf");
    gguf::Writer writer;
    for (const gguf::MetadataEntry& entry : bundled->metadata()) {
      if (entry.key != "tokenizer.chat_template") writer.copy(entry);
    }
    if (source) writer.set("tokenizer.chat_template", gguf::Writer::Scalar(std::string(source)));
    if (tool_use) {
      writer.set("tokenizer.chat_template.tool_use", gguf::Writer::Scalar(std::string(tool_use)));
    }
    bytes = writer.bytes().value();
    file = gguf::File::from_bytes(bytes, "template.gguf").value();
    tokenizer = Tokenizer::from_file(*file).value();
  }
  Result<ChatTemplate> load() const { return ChatTemplate::from_file(*file, *tokenizer); }
};

const std::vector<Message> kTurns = {
    {"system", "Be kind."}, {"user", "Hi"}, {"assistant", "Hello"}, {"user", "Bye"}};

TEST(ChatTemplate, rendersTheBundledModelsPromptFormat) {
  const auto file =
      gguf::File::open(std::string(QUERN_SOURCE_DIR) + "/models/quern-tiny-stories-Q4_K_M.gguf");
  const auto tokenizer = Tokenizer::from_file(*file);
  const auto chat = ChatTemplate::from_file(*file, *tokenizer);
  ASSERT_TRUE(chat) << chat.error().to_string();
  EXPECT_FALSE(chat->uses_system());
  EXPECT_TRUE(chat->warnings().empty());
  EXPECT_EQ(chat->render(kTurns).value(),
            "<|user|>Hi<|end|><|assistant|>Hello<|end|><|user|>Bye<|end|><|assistant|>");
  EXPECT_EQ(chat->render(kTurns, {.add_generation_prompt = false}).value(),
            "<|user|>Hi<|end|><|assistant|>Hello<|end|><|user|>Bye<|end|>");
}

TEST(ChatTemplate, fallsBackToChatMlWithAWarning) {
  const TemplateFile file(nullptr);
  const auto chat = file.load();
  ASSERT_TRUE(chat) << chat.error().to_string();
  EXPECT_EQ(chat->warnings().size(), 1u);
  EXPECT_TRUE(chat->uses_system());
  EXPECT_EQ(chat->render(std::vector<Message>{{"user", "Hi"}}).value(),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, mergesTheSystemTextWhereTheTemplateRefusesTheRole) {
  const TemplateFile file(
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
      "{% endif %}[{{ m.role }}:{{ m.content }}]{% endfor %}");
  const auto chat = file.load();
  ASSERT_TRUE(chat) << chat.error().to_string();
  EXPECT_TRUE(chat->uses_system());
  EXPECT_EQ(chat->render(kTurns).value(), "[user:Be kind.\n\nHi][assistant:Hello][user:Bye]");
}

TEST(ChatTemplate, reportsTheTemplatesOwnMessage) {
  const TemplateFile file("{{ raise_exception('roles must alternate') }}");
  const auto chat = file.load();
  ASSERT_TRUE(chat) << chat.error().to_string();
  const auto text = chat->render(kTurns);
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, "template-raised");
  EXPECT_NE(text.error().message.find("roles must alternate"), std::string::npos);
}

TEST(ChatTemplate, prefersTheToolVariantOnlyWhenThereAreTools) {
  const TemplateFile file("plain{{ tools is defined }}", "tools:{{ tools[0].name }}");
  const auto chat = file.load();
  ASSERT_TRUE(chat) << chat.error().to_string();
  EXPECT_EQ(chat->render(kTurns).value(), "plainFalse");
  EXPECT_EQ(chat->render(kTurns, {.tools = {{{"name", "clock"}}}}).value(), "tools:clock");
}

TEST(ChatTemplate, givesToolArgumentsAsObjects) {
  const TemplateFile file("{{ messages[0].tool_calls[0].function.arguments.city }}");
  const auto chat = file.load();
  ASSERT_TRUE(chat) << chat.error().to_string();
  Message call{"assistant", ""};
  call.extra = nlohmann::ordered_json::parse(
      R"({"tool_calls": [{"function": {"name": "f", "arguments": "{\"city\": \"Rome\"}"}}]})");
  EXPECT_EQ(chat->render(std::vector<Message>{call}).value(), "Rome");
}

TEST(ChatTemplate, refusesATemplateThatIsNotOne) {
  const TemplateFile file("{% for %}");
  const auto chat = file.load();
  ASSERT_FALSE(chat);
  EXPECT_EQ(chat.error().code, "template-syntax");
  EXPECT_EQ(chat.error().path, "template.gguf");
}

// The templates that real models carry, for conversations that every one of them accepts.
TEST(ChatTemplate, rendersTheTemplatesOfRealModels) {
  if (!test::shared_golden("vocab")) GTEST_SKIP() << "the vocabularies are not here";
  const std::vector<Message> turns = {
      {"user", "first-marker"}, {"assistant", "Hello"}, {"user", "last-marker"}};
  size_t rendered = 0;
  for (const char* name : {"deepseek-v3", "gemma3", "gpt-4o", "llama-bpe", "qwen2", "phi-3",
                           "deepseek-llm", "deepseek-coder"}) {
    SCOPED_TRACE(name);
    const auto file =
        gguf::File::open(*test::shared_golden(std::string("vocab/") + name + ".gguf"));
    ASSERT_TRUE(file) << file.error().to_string();
    if (!file->find("tokenizer.chat_template")) continue;
    const auto tokenizer = Tokenizer::from_file(*file);
    ASSERT_TRUE(tokenizer) << tokenizer.error().to_string();
    const auto chat = ChatTemplate::from_file(*file, *tokenizer);
    ASSERT_TRUE(chat) << chat.error().to_string();
    const auto text = chat->render(turns);
    ASSERT_TRUE(text) << text.error().to_string();
    EXPECT_LT(text->find("first-marker"), text->find("last-marker"));
    EXPECT_NE(text->find("last-marker"), text->npos);
    ++rendered;
  }
  EXPECT_GE(rendered, 1u);
}

}  // namespace
}  // namespace quern::engine

#include "tools/chat.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/temporary_folder.h"
#include "tests/tools/fake_generator.h"

namespace quern::tools {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class ChatTest : public ::testing::Test {
 protected:
  // What handling this input prints.
  std::string type(const std::string& text, bool block = false) {
    printed_.clear();
    stays_ = chat_.handle({text, block});
    return printed_;
  }
  size_t messages() const { return chat_.conversation().messages.size(); }

  FakeGenerator model_;
  std::string printed_;
  bool stays_ = true;
  Chat chat_{model_, {}, [this](std::string_view text) { printed_ += text; }};
};

TEST_F(ChatTest, sendsTheWholeConversationAndPrintsTheAnswer) {
  model_.answers = {{.text = "blue", .stop = Stop::kEnd, .statistics = {}}};
  EXPECT_EQ(type("sky?"), "blue\n");
  EXPECT_EQ(type("sure?"), "ok\n");
  EXPECT_THAT(model_.prompts, ElementsAre("u:sky?;a:", "u:sky?;a:blue;u:sure?;a:"));
}

TEST_F(ChatTest, ignoresBlankInput) {
  EXPECT_EQ(type("  \n"), "");
  EXPECT_EQ(messages(), 0u);
}

TEST_F(ChatTest, metersTheContext) {
  EXPECT_EQ(chat_.prompt(), "[  0/200] > ");
  type("sky?");
  EXPECT_EQ(chat_.prompt(), "[ 11/200] > ");  // "u:sky?;a:" and "ok"
  type("/clear");
  EXPECT_EQ(chat_.prompt(), "[  0/200] > ");
}

TEST_F(ChatTest, slashIsACommandOnlyAtTheStartOfALine) {
  EXPECT_THAT(type("/nonsense"), AllOf(HasSubstr("\"/nonsense\""), HasSubstr("/help")));
  EXPECT_EQ(messages(), 0u);
  EXPECT_EQ(type(" /etc is a folder"), "ok\n");
  EXPECT_EQ(type("/quit", /*block=*/true), "ok\n");
  EXPECT_EQ(messages(), 4u);
}

TEST_F(ChatTest, helpListsEveryCommand) {
  const std::string help = type("/help");
  for (const char* name : {"/help", "/set", "/system", "/clear", "/retry", "/undo", "/save",
                           "/load", "/tokens", "/stats", "/quit"}) {
    EXPECT_THAT(help, HasSubstr(name));
  }
}

TEST_F(ChatTest, setShowsAndChangesSettings) {
  const std::string all = type("/set");
  for (const engine::OptionRow& row : engine::option_rows()) EXPECT_THAT(all, HasSubstr(row.name));
  EXPECT_THAT(all, AllOf(HasSubstr("ctx"), HasSubstr("200")));
  EXPECT_EQ(type("/set temp 0.25"), "");
  EXPECT_EQ(model_.options.temperature, 0.25f);
  EXPECT_THAT(type("/set temp"), AllOf(HasSubstr("0.25"), Not(HasSubstr("top_k"))));
  EXPECT_EQ(type("/set ctx 300"), "");
  EXPECT_EQ(model_.positions, 300u);
  EXPECT_THAT(type("/set ctx 600"), HasSubstr("trained for 500"));
  EXPECT_EQ(type("/set n 1"), "");
  EXPECT_THAT(type("hi"), HasSubstr("o\n[stopped after 1 tokens"));
}

TEST_F(ChatTest, setRefusesWhatItDoesNotKnow) {
  EXPECT_THAT(type("/set warmth 1"), HasSubstr("warmth"));
  EXPECT_THAT(type("/set warmth"), HasSubstr("warmth"));
  EXPECT_THAT(type("/set temp hot"), HasSubstr("hot"));
  EXPECT_THAT(type("/set temp 1 2"), HasSubstr("1 2"));
  EXPECT_THAT(type("/set ctx -1"), HasSubstr("ctx"));
  EXPECT_THAT(type("/set ctx 200000"), HasSubstr("too much"));
  EXPECT_EQ(model_.options.temperature, engine::SamplerOptions{}.temperature);
  EXPECT_EQ(model_.positions, 200u);
}

TEST_F(ChatTest, systemMessageComesFirst) {
  EXPECT_THAT(type("/system"), HasSubstr("no system message"));
  type("/system Be brief.");
  EXPECT_EQ(type("/system"), "Be brief.\n");
  type("hi");
  type("/system none");
  type("again");
  EXPECT_THAT(model_.prompts, ElementsAre("s:Be brief.;u:hi;a:", "u:hi;a:ok;u:again;a:"));
}

TEST_F(ChatTest, saysWhenTheModelDropsSystemMessages) {
  EXPECT_EQ(type("/system Be brief."), "");
  model_.system_reaches_model = false;
  EXPECT_THAT(type("/system Be kind."), HasSubstr("drops system messages"));
  EXPECT_EQ(type("/system none"), "");
}

TEST_F(ChatTest, retryAnswersTheSameMessageAgain) {
  EXPECT_THAT(type("/retry"), HasSubstr("nothing to answer"));
  type("hi");
  model_.answers = {{.text = "better", .stop = Stop::kEnd, .statistics = {}}};
  EXPECT_EQ(type("/retry"), "better\n");
  EXPECT_THAT(model_.prompts, ElementsAre("u:hi;a:", "u:hi;a:"));
  EXPECT_EQ(messages(), 2u);
  model_.fails = true;
  EXPECT_THAT(type("/retry"), HasSubstr("the model broke"));
  EXPECT_EQ(chat_.conversation().messages.back().content, "better");
}

TEST_F(ChatTest, undoForgetsOneExchange) {
  type("one");
  type("two");
  type("/undo");
  EXPECT_EQ(messages(), 2u);
  EXPECT_EQ(chat_.prompt(), "[ 11/200] > ");  // "u:one;a:ok;"
  type("/undo");
  EXPECT_EQ(messages(), 0u);
  EXPECT_THAT(type("/undo"), HasSubstr("nothing to undo"));
}

TEST_F(ChatTest, saysOnceThatGoingBackMeansReadingAgain) {
  model_.reads_again = 200;
  EXPECT_EQ(type("short"), "ok\n");
  model_.reads_again = 5000;
  EXPECT_THAT(type("long"), StartsWith("[5000 tokens are read again: "));
  EXPECT_EQ(type("long"), "ok\n");
}

TEST_F(ChatTest, aFailureTakesTheMessageBack) {
  model_.fails = true;
  EXPECT_THAT(type("hi"), HasSubstr("the model broke"));
  EXPECT_EQ(messages(), 0u);
  EXPECT_TRUE(stays_);
}

TEST_F(ChatTest, aStoppedAnswerStaysUnlessItIsEmpty) {
  model_.answers = {{.text = "par", .stop = Stop::kCancelled, .statistics = {}},
                    {.text = "", .stop = Stop::kCancelled, .statistics = {}}};
  EXPECT_EQ(type("hi"), "par\n[stopped]\n");
  EXPECT_EQ(messages(), 2u);
  EXPECT_THAT(type("hi"), HasSubstr("taken back"));
  EXPECT_EQ(messages(), 2u);
}

TEST_F(ChatTest, aFullContextDropsNothingAndOffersWaysOut) {
  type("hello");
  const std::string said = type(std::string(200, 'x'));
  EXPECT_THAT(said, AllOf(HasSubstr("full"), HasSubstr("/clear"), HasSubstr("/undo"),
                          HasSubstr("/set ctx"), HasSubstr("up to 500")));
  EXPECT_EQ(messages(), 2u);
  EXPECT_EQ(model_.prompts.size(), 1u);
  type("/set ctx 500");
  EXPECT_EQ(type(std::string(200, 'x')), "ok\n");
  EXPECT_THAT(model_.prompts.back(), HasSubstr("hello"));
}

TEST_F(ChatTest, anAnswerThatFillsTheContextSaysSo) {
  model_.answers = {{.text = "long", .stop = Stop::kContextFull, .statistics = {}}};
  EXPECT_THAT(type("hi"),
              AllOf(HasSubstr("long\n"), HasSubstr("200 tokens is full"), HasSubstr("/clear")));
  EXPECT_EQ(messages(), 2u);
}

TEST_F(ChatTest, tokensShowsIdsAndText) {
  EXPECT_THAT(type("/tokens"), HasSubstr("no prompt"));
  type("h\ni");
  EXPECT_THAT(type("/tokens"),
              AllOf(HasSubstr("     104  \"h\"\n"), HasSubstr("      10  \"\\x0A\"\n"),
                    HasSubstr("8 tokens"), HasSubstr("\"u:h\\x0Ai;a:\"")));
}

TEST_F(ChatTest, statisticsOnRequest) {
  EXPECT_THAT(type("/stats"), HasSubstr("no answer"));
  EXPECT_EQ(type("hi"), "ok\n");
  EXPECT_THAT(type("/stats"), HasSubstr("prompt 7 tokens"));
  type("/stats on");
  EXPECT_THAT(type("hi"), HasSubstr("answer 2 tokens"));
  type("/stats off");
  EXPECT_EQ(type("hi"), "ok\n");
  EXPECT_THAT(type("/stats maybe"), HasSubstr("on, off"));
}

TEST_F(ChatTest, quitLeaves) {
  type("/quit now");
  EXPECT_TRUE(stays_);
  type("/quit");
  EXPECT_FALSE(stays_);
}

TEST_F(ChatTest, saveAndLoadRestoreConversationAndSettings) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("my chat.json");
  type("/system Be brief.");
  type("hi \xFF \xE2\x82\xAC");
  type("/set temp 0.3");
  type("/set seed 18446744073709551615");
  type("/set logit_bias 5=-inf");
  type("/set n 7");
  EXPECT_THAT(type("/save " + path), HasSubstr("saved 2 messages"));
  EXPECT_THAT(type("/save " + path), HasSubstr("saved"));

  type("/clear");
  type("/system none");
  type("/set temp 1");
  type("/set seed 1");
  type("/set n 0");
  type("/set ctx 100");
  model_.options.logit_bias.clear();
  EXPECT_THAT(type("/load " + path), HasSubstr("loaded 2 messages"));
  EXPECT_EQ(chat_.conversation().system, "Be brief.");
  ASSERT_EQ(messages(), 2u);
  EXPECT_EQ(chat_.conversation().messages[0].content, "hi \xEF\xBF\xBD \xE2\x82\xAC");
  EXPECT_EQ(model_.options.temperature, 0.3f);
  EXPECT_EQ(model_.options.seed, 18446744073709551615u);
  EXPECT_EQ(model_.options.logit_bias.size(), 1u);
  EXPECT_EQ(model_.positions, 200u);
  EXPECT_THAT(type("/set n"), HasSubstr("7"));
}

TEST_F(ChatTest, saveLeavesOtherFilesAlone) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("notes.txt");
  std::ofstream(path) << "mine";
  EXPECT_THAT(type("/save " + path), HasSubstr("not a saved chat"));
  std::string content;
  std::ifstream(path) >> content;
  EXPECT_EQ(content, "mine");
  EXPECT_THAT(type("/save " + folder.file("no/such/folder")), HasSubstr("cannot write"));
  EXPECT_THAT(type("/save"), HasSubstr("file name"));
}

TEST_F(ChatTest, loadRefusesDamagedFilesAndChangesNothing) {
  const test::TemporaryFolder folder;
  const std::string path = folder.file("chat.json");
  type("hi");
  const std::string head = R"({"quern_conversation": 1, )";
  for (const std::string& text : {
           std::string(),
           std::string("{"),
           std::string("[]"),
           std::string("{}"),
           std::string(R"({"quern_conversation": 2})"),
           head + R"("system": 5})",
           head + R"("messages": {}})",
           head + R"("messages": [5]})",
           head + R"("messages": [{"role": "robot", "content": "x"}]})",
           head + R"("messages": [{"role": "user", "content": null}]})",
           head + R"("settings": []})",
           head + R"("settings": {"temp": "hot"}})",
           head + R"("settings": {"temp": -1}})",
           head + R"("settings": {"warmth": 1}})",
           head + R"("settings": {"ctx": -1}})",
           head + R"("settings": {"ctx": 1e12}})",
           head + R"("settings": {"logit_bias": [5]}})",
           head + R"("settings": {"temp": )" + std::string(100000, '[') + "}}",
           head + R"("messages": )" + std::string(100000, '[') + std::string(100000, ']') + "}",
       }) {
    std::ofstream(path) << text;
    EXPECT_THAT(type("/load " + path), HasSubstr("is not a saved chat")) << text.substr(0, 200);
    EXPECT_EQ(messages(), 2u);
  }
  EXPECT_THAT(type("/load " + folder.file("none")), HasSubstr("cannot open"));
  EXPECT_THAT(type("/load"), HasSubstr("file name"));
  EXPECT_EQ(model_.options.temperature, engine::SamplerOptions{}.temperature);
}

std::optional<Input> read(std::initializer_list<const char*> lines) {
  InputReader reader;
  std::optional<Input> input;
  for (const char* line : lines) {
    EXPECT_FALSE(input) << "complete before " << line;
    input = reader.push(line);
  }
  EXPECT_EQ(reader.open(), !input);
  return input;
}

TEST(InputReader, joinsLinesThatEndWithABackslash) {
  EXPECT_EQ(read({"one"})->text, "one");
  EXPECT_EQ(read({"one\\", "two\\", "three"})->text, "one\ntwo\nthree");
  EXPECT_FALSE(read({"one\\", "two"})->block);
  EXPECT_FALSE(read({"\\"}));
}

TEST(InputReader, readsABlockBetweenQuotes) {
  const auto block = read({"\"\"\"", "/quit", "", "a\\", "\"\"\""});
  ASSERT_TRUE(block);
  EXPECT_EQ(block->text, "/quit\n\na\\");
  EXPECT_TRUE(block->block);
  EXPECT_EQ(read({"\"\"\"one", "two\"\"\""})->text, "one\ntwo");
  EXPECT_EQ(read({"\"\"\"one\"\"\""})->text, "one");
  EXPECT_FALSE(read({"\"\"\"one", "two"}));
}

}  // namespace
}  // namespace quern::tools

// `quern run` as a filter, run as a program on the bundled model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/mix.h"
#include "engine/synthetic_model.h"
#include "tests/run_program.h"

namespace quern {
namespace {

using nlohmann::json;
using test::ProgramResult;
using test::run_program;
using ::testing::HasSubstr;

// Arguments of a run with two threads, which is quick on small machines too.
std::vector<std::string> run(std::vector<std::string> more) {
  std::vector<std::string> arguments = {"run", "--threads", "2"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(Run, answersTheShortQuestionsOfTheModelCardAndPrintsNothingElse) {
  const std::pair<const char*, const char*> cases[] = {
      {"Hello!", "Hello! I am Quern. Shall I tell you a story?"},
      {"What is your name?", "I am Quern, a tiny story model."},
      {"What is the opposite of big?", "The opposite of big is small."},
      {"What sound does a cow make?", "A cow says moo."},
      {"What colour is the sky?", "The sky is blue."},
      {"What is 7 plus 5?", "7 plus 5 is 12."},
      {"How many legs does a spider have?", "A spider has eight legs."},
  };
  for (const auto& [question, answer] : cases) {
    const ProgramResult result =
        run_program(run({"-n", "64", "--temp", "0"}), std::string(question) + "\n");
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.out, std::string(answer) + "\n");
    EXPECT_EQ(result.err, "");
  }
}

TEST(Run, takesThePromptFromAnOptionOrAFile) {
  const test::TemporaryFolder folder;
  const std::string question = "What colour is the sky?\n";
  const std::string path = folder.write("question", std::as_bytes(std::span(question)));
  EXPECT_EQ(run_program(run({"--temp", "0", "-p", "What colour is the sky?"})).out,
            "The sky is blue.\n");
  EXPECT_EQ(run_program(run({"--temp", "0", "-f", path}), "ignored").out, "The sky is blue.\n");
}

TEST(Run, takesTheModelAfterTheValueOfAnOption) {
  const std::string model = QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf";
  const std::vector<std::string> ask = {"-p", "What colour is the sky?"};
  for (const std::vector<std::string>& options :
       {std::vector<std::string>{"--temp", "0", model},
        {"--temp", "0", "--dry-breaker", "x", model},
        {"--logit-bias", "7=0", "--logit-bias", "8=0", "--temp", "0", model}}) {
    std::vector<std::string> arguments = run(options);
    arguments.insert(arguments.end(), ask.begin(), ask.end());
    EXPECT_EQ(run_program(arguments).out, "The sky is blue.\n") << options[2];
  }
}

TEST(Run, rawContinuesTheText) {
  const ProgramResult result =
      run_program(run({"--raw", "--temp", "0", "-n", "5", "-p", "Once upon"}));
  EXPECT_THAT(result.out, ::testing::StartsWith(" a time,"));
}

TEST(Run, rawReadsControlTokensOnlyOnRequest) {
  const std::string prompt = "<|user|>What colour is the sky?<|end|><|assistant|>";
  EXPECT_EQ(run_program(run({"--raw", "--special", "--temp", "0", "-p", prompt})).out,
            "The sky is blue.\n");
  const auto plain = run_program(run({"--raw", "--temp", "0", "-n", "8", "-p", prompt}));
  EXPECT_NE(plain.out, "The sky is blue.\n");
}

TEST(Run, jsonIsOneObjectPerTokenThenASummary) {
  const ProgramResult result =
      run_program(run({"--json", "--temp", "0", "--seed", "5"}), "What colour is the sky?\n");
  std::istringstream lines(result.out);
  std::string text, line;
  size_t tokens = 0;
  json last;
  while (std::getline(lines, line)) {
    last = json::parse(line, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(last.is_object()) << line;
    if (!last.contains("id")) break;
    text += last["text"].get<std::string>();
    ++tokens;
  }
  EXPECT_FALSE(std::getline(lines, line)) << "after the summary: " << line;
  EXPECT_EQ(text, "The sky is blue.");
  EXPECT_EQ(last["text"], text);
  EXPECT_EQ(last["stop"], "end");
  EXPECT_EQ(last["answer_tokens"], tokens);
  EXPECT_EQ(last["prompt_tokens"], 11);
  EXPECT_EQ(last["seed"], 5);
  EXPECT_GT(last["first_token_s"], 0);
  EXPECT_GT(last["decode_tokens_per_s"], 0);
}

TEST(Run, stopsAfterTheTokensAskedFor) {
  const auto result = run_program(run({"--json", "--temp", "0", "-n", "2", "-p", "Hello!"}));
  EXPECT_EQ(std::ranges::count(result.out, '\n'), 3);
  EXPECT_THAT(result.out, HasSubstr("\"stop\":\"limit\""));
}

TEST(Run, theSameSeedGivesTheSameAnswer) {
  const auto story = [](const char* seed) {
    return run_program(run({"--seed", seed, "--temp", "1", "-n", "30", "-p", "Tell me a story."}))
        .out;
  };
  EXPECT_EQ(story("1"), story("1"));
  EXPECT_NE(story("1"), story("2"));
}

TEST(Run, everyWayToHoldModelAndCacheGivesTheAnswer) {
  const std::string model = QUERN_SOURCE_DIR "/models/quern-tiny-stories-Q4_K_M.gguf";
  for (const auto& more : std::vector<std::vector<std::string>>{{"--no-mmap"},
                                                                {"--mlock"},
                                                                {"--kv", "f32"},
                                                                {"--kv", "q8_0"},
                                                                {"--ctx", "32"},
                                                                {model}}) {
    std::vector<std::string> arguments = {"--temp", "0", "-p", "What colour is the sky?"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_EQ(run_program(run(arguments)).out, "The sky is blue.\n") << more[0];
  }
}

// The limit and the capability are inherited; what runs as root may lock as much as it wants.
TEST(Run, saysThatTheFileCannotBeLockedAndGoesOn) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers make mlock do nothing";
#endif
  rlimit old, none;
  ASSERT_EQ(getrlimit(RLIMIT_MEMLOCK, &old), 0);
  none = {.rlim_cur = 0, .rlim_max = old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &none), 0);
  prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK);  // of programs that are started from here on
  const auto result = run_program(run({"--mlock", "--temp", "0", "-p", "What colour is the sky?"}));
  ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &old), 0);
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "The sky is blue.\n");
  EXPECT_THAT(result.err, HasSubstr("not locked"));
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
}

TEST(Run, forceKeepsWeightsMappedWhereTheirCopiesDoNotFit) {
  const std::vector<std::string> tight = {
      "--force", "--ram", "8M", "--temp", "0", "-p", "What colour is the sky?"};
  const auto result = run_program(run(tight));
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.out, "The sky is blue.\n");
  EXPECT_THAT(result.err, HasSubstr("weights stay in the mapped file"));
  const auto roomy = run_program(run({"--force", "--ram", "2G", "--temp", "0", "-p", "Hello!"}));
  EXPECT_EQ(roomy.err, "");
}

// A model of 8 GiB of zeros, which take no room on the disk: seconds of loading.
std::string large_model(const test::TemporaryFolder& folder) {
  const gguf::File file = *engine::synthetic_model(*engine::find_synthetic_shape("llama-8b"),
                                                   *engine::find_mix("Q8_0"), 1)
                               .outline("large");
  const auto bytes = file.parts()[0].bytes;
  const auto header = static_cast<size_t>(file.tensors()[0].bytes.data() - bytes.data());
  const std::string path = folder.write("large.gguf", bytes.first(header));
  std::filesystem::resize_file(path, bytes.size());
  return path;
}

// Waits until the process catches the signal, or is gone.
void wait_until_it_catches(pid_t process, int signal) {
  const std::string path = "/proc/" + std::to_string(process) + "/status";
  for (uint64_t caught = 0; (caught >> (signal - 1) & 1) == 0;) {
    std::ifstream status(path);
    std::string word;
    while (word != "SigCgt:") {
      if (!(status >> word) || word == "zombie)") return;
    }
    status >> std::hex >> caught;
  }
}

// While it opens the file it catches SIGINT only; while it checks and packs weights, SIGTERM, too.
TEST(Run, ctrlCWhileAModelLoadsEndsInOneLine) {
  const test::TemporaryFolder folder;
  const std::string model = large_model(folder);
  const auto interrupted = [&](const char* option, int caught) {
    return run_program(run({model, "--force", "--ram", "1G", "--ctx", "512", option, "-p", "x"}),
                       {}, [&](pid_t process) {
                         wait_until_it_catches(process, caught);
                         ::kill(process, SIGINT);
                       });
  };
  const std::pair<const char*, int> cases[] = {
      {"--raw", SIGINT}, {"--no-mmap", SIGINT}, {"--mlock", SIGINT}, {"--raw", SIGTERM}};
  for (const auto& [option, caught] : cases) {
    const ProgramResult result = interrupted(option, caught);
    SCOPED_TRACE(testing::Message() << option << ' ' << caught);
    EXPECT_EQ(result.exit_code, 130);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(result.err, "quern: stopped\n");
  }
}

TEST(Run, saysWhenTheContextIsFull) {
  const auto answer =
      run_program(run({"--temp", "0", "--ctx", "32", "-p", "Tell me a story about a fox."}));
  EXPECT_EQ(answer.exit_code, 0);
  EXPECT_THAT(answer.err, HasSubstr("context of 32 tokens is full"));
  const auto prompt = run_program(run({"--ctx", "8", "-p", "Tell me a story about a fox."}));
  EXPECT_EQ(prompt.exit_code, 2);
  EXPECT_THAT(prompt.err, HasSubstr("--ctx"));
  EXPECT_EQ(prompt.out, "");
}

TEST(Run, answersBytesThatAreNotText) {
  const auto result = run_program(run({"--temp", "0", "-n", "4", "--json"}),
                                  std::string("\xFF\x00\x1B[2J \xE2\x82", 8));
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

TEST(Run, controlTokensInAQuestionStayText) {
  // As control tokens, the question would end after "sky?" and the answer would be "The sky ...".
  const std::string question = "What colour is the sky?<|end|><|assistant|>";
  const auto result = run_program(run({"--temp", "0", "--json", "-n", "1", "-p", question}));
  const json summary = json::parse(result.out.substr(result.out.find('\n') + 1));
  EXPECT_GT(summary["prompt_tokens"], 13);
}

TEST(Run, badOptionsAreRefusedInOneLine) {
  const std::vector<std::vector<std::string>> cases = {
      {"--temp", "-1"},
      {"--temp", "hot"},
      {"--temp"},
      {"--top-p", "1.5"},
      {"--mirostat", "1"},
      {"--seed", "-3"},
      {"--kv", "q5"},
      {"--ctx", "-1"},
      {"--threads", "0"},
      {"-n", "-1"},
      {"--no-such-thing"},
      {"--logit-bias", "x"},
      {"--special"},
      {"-f", "/no/such"},
      {"/no/such.gguf"},
      {"--ctx", "99999999999"},
      {"-p", ""},
      {"a", "b"},
      {"/dev/null"},
      {"/"},
      {"--no-mmap", "--mlock"},
      {"-p", "x", "-f", "y"},
  };
  for (const auto& arguments : cases) {
    const ProgramResult result = run_program(run(arguments), "Hello!");
    SCOPED_TRACE(::testing::PrintToString(arguments));
    EXPECT_EQ(result.exit_code, 2);
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  }
}

TEST(Run, anEmptyPromptIsRefused) {
  const ProgramResult result = run_program(run({}), "\n");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, HasSubstr("empty"));
}

}  // namespace
}  // namespace quern

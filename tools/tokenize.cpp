// quern tokenize: shows how a model's tokenizer splits text, or tokenizes a stream of JSON lines.
#include <fmt/format.h>

#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "engine/tokenizer/tokenizer.h"
#include "gguf/file.h"
#include "tools/commands.h"
#include "tools/output.h"

namespace quern::tools {
namespace {

struct Options {
  std::string file;
  std::optional<std::string> text;
  bool special = false;
  bool jsonl = false;
};

std::string json_list(const std::vector<int32_t>& ids) {
  return fmt::format("[{}]", fmt::join(ids, ", "));
}

// The answer to one input line.
Result<std::string> tokenize_line(const engine::Tokenizer& tokenizer, const std::string& line,
                                  size_t number) {
  const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  const auto text = json.is_object() ? json.find("text") : json.end();
  if (text == json.end() || !text->is_string()) {
    return bad_input(
        "tokenize-line",
        fmt::format("line {} of the input is not a JSON object with a string \"text\"", number));
  }
  const auto& string = text->get_ref<const std::string&>();
  return fmt::format("{{\"ids\": {}, \"ids_special\": {}}}\n",
                     json_list(tokenizer.encode(string, false, false)),
                     json_list(tokenizer.encode(string, true, true)));
}

Status tokenize_lines(const engine::Tokenizer& tokenizer) {
  std::string line;
  for (size_t number = 1; std::getline(std::cin, line); ++number) {
    QUERN_TRY(const std::string answer, tokenize_line(tokenizer, line, number));
    QUERN_CHECK(write_stdout(answer));
  }
  return {};
}

Status print_table(const engine::Tokenizer& tokenizer, const Options& options) {
  const std::string text =
      options.text ? *options.text : std::string(std::istreambuf_iterator<char>(std::cin), {});
  const auto ids = tokenizer.encode(text, options.special, options.special);
  std::string out;
  for (const int32_t id : ids) {
    out += fmt::format("{:>8}  {}\n", id, escape(tokenizer.piece(id, /*render_special=*/true)));
  }
  out += fmt::format("{} tokens, {} bytes\n", ids.size(), text.size());
  return write_stdout(out);
}

Status tokenize(const Options& options) {
  QUERN_TRY(const gguf::File file, gguf::File::open(options.file));
  QUERN_TRY(const engine::Tokenizer tokenizer, engine::Tokenizer::from_file(file));
  print_warnings(tokenizer.warnings());
  if (tokenizer.size() == 0) {
    Error error;
    error.kind = ErrorKind::kBadInput;
    error.code = "tokenizer-none";
    error.message = "the file has no tokenizer; only prompts made of ids are possible";
    error.path = options.file;
    return tl::unexpected(std::move(error));
  }
  return options.jsonl ? tokenize_lines(tokenizer) : print_table(tokenizer, options);
}

}  // namespace

void add_tokenize(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("tokenize", "Show how a model splits text into tokens");
  auto options = std::make_shared<Options>();
  command->add_option("FILE", options->file, "GGUF model or vocabulary")->required();
  auto* text = command->add_option("--text", options->text, "Text (default: all standard input)");
  auto* special = command->add_flag(
      "--special", options->special,
      "Add begin and end tokens where the model wants them; read special tokens in the text");
  command
      ->add_flag(
          "--jsonl", options->jsonl,
          "Read lines {\"text\": ...}, print lines {\"ids\": [...], \"ids_special\": [...]}:\n"
          "plain, and with --special")
      ->excludes(text)
      ->excludes(special);
  command->footer(
      "Examples:\n"
      "  quern tokenize model.gguf --text 'Hello, world'\n"
      "  echo '{\"text\": \"Hello\"}' | quern tokenize model.gguf --jsonl");
  command->callback([&run, options] { run = [options] { return tokenize(*options); }; });
}

}  // namespace quern::tools

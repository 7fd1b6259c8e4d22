#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "base/mapped_file.h"
#include "command.h"
#include "standard_streams.h"
#include "text/token_lines.h"
#include "text/tokenizer.h"

namespace hadal::apps {
namespace {

struct Options {
  std::string tokenizer;
  std::string text;
  std::string file;
  bool has_text = false;
  bool jsonl = false;
  bool json = false;
  bool plain = false;
  bool lenient = false;
};

Result<std::string> input(const Options& options) {
  if (options.has_text) return options.text;
  if (!options.file.empty()) return read_file(options.file, text::Tokenizer::kMaxTextBytes);
  return read_standard_input(text::Tokenizer::kMaxTextBytes);
}

Status tokenize(const Options& options) {
  HADAL_ASSIGN(const text::Tokenizer tokenizer, text::Tokenizer::load(options.tokenizer));
  const auto added_tokens = options.plain ? text::AddedTokens::kOff : text::AddedTokens::kRecognised;
  if (options.jsonl) {
    return answer_lines([&](std::string_view line) { return text::tokenize_line(tokenizer, line, added_tokens); });
  }
  HADAL_ASSIGN(const std::string text, input(options));
  const auto ill_formed = options.lenient ? text::IllFormedText::kReplace : text::IllFormedText::kRefuse;
  HADAL_ASSIGN(const std::vector<std::int32_t> ids,
               tokenizer.encode(text, {.added_tokens = added_tokens, .ill_formed = ill_formed}));
  return write_standard_output(options.json ? fmt::format("[{}]\n", fmt::join(ids, ","))
                                            : fmt::format("{}\n", fmt::join(ids, " ")));
}

}  // namespace

void add_tokenize(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand("tokenize", "Text to token ids");
  command->add_option("--tokenizer", options->tokenizer, "tokenizer.json, tokenizer.json.zst or a checkpoint directory")
      ->required();
  CLI::Option* const text =
      command->add_option("TEXT", options->text, "The text; without it and --file standard input, to its last byte");
  CLI::Option* const file =
      command->add_option("--file", options->file, "Read the text from this file")->excludes(text);
  CLI::Option* const jsonl =
      command->add_flag("--jsonl", options->jsonl, "Standard input has a JSON object a line: text, repeat or hex")
          ->excludes(text)
          ->excludes(file);
  command->add_flag("--plain", options->plain, "Strings such as <think> are ordinary text");
  command->add_flag("--lenient", options->lenient, "Ill-formed UTF-8 becomes U+FFFD instead of an error")
      ->excludes(jsonl);
  command->add_flag("--json", options->json, "Print the ids as a JSON list")->excludes(jsonl);
  command->callback([options, text, &outcome] {
    options->has_text = text->count() > 0;
    outcome.status = tokenize(*options);
  });
}

}  // namespace hadal::apps

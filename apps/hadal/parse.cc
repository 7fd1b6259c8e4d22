#include <CLI/CLI.hpp>
#include <memory>

#include "base/mapped_file.h"
#include "command.h"
#include "standard_streams.h"
#include "text/chat_json.h"
#include "text/chat_lines.h"

namespace hadal::apps {
namespace {

constexpr std::int64_t kMaxOutputBytes = std::int64_t{64} << 20;

struct Options {
  std::string tokenizer;
  std::string file;
  bool jsonl = false;
  bool chat = false;
  bool no_tools = false;
  bool length = false;
  text::ParserOptions parser;
};

Status parse(const Options& options) {
  if (options.jsonl) return answer_lines(text::parse_line);
  HADAL_ASSIGN(const std::string output,
               options.file.empty() ? read_standard_input(kMaxOutputBytes) : read_file(options.file, kMaxOutputBytes));
  text::ParserOptions parser_options = options.parser;
  parser_options.thinking = !options.chat;
  parser_options.tools = !options.no_tools;
  text::ChatParser parser(parser_options);
  // What a terminal or a file shows need not be UTF-8; JSON must be.
  static_cast<void>(parser.push(text::replace_ill_formed(output)));
  static_cast<void>(parser.finish(options.length ? text::StopReason::kLength : text::StopReason::kStop));
  return write_standard_output(text::to_json(text::parsed_to_json(parser.message())) + "\n");
}

}  // namespace

void add_parse(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand("parse", "Text that the model wrote to a message with its tool calls");
  command->add_option("--tokenizer", options->tokenizer, "Accepted for symmetry with render; not needed");
  CLI::Option* const jsonl = command->add_flag(
      "--jsonl", options->jsonl, "Standard input has a JSON object a line: text or feeds, options, finish");
  command->add_option("FILE", options->file, "The model's output, without the end token; else standard input")
      ->excludes(jsonl);
  command->add_flag("--chat", options->chat, "The prompt did not end inside the reasoning")->excludes(jsonl);
  command->add_flag("--no-tools", options->no_tools, "Call markup is ordinary text")->excludes(jsonl);
  command->add_flag("--trim-newlines", options->parser.trim_newlines, "Drop newlines around reasoning and content")
      ->excludes(jsonl);
  command->add_flag("--lenient", options->parser.lenient_dsml, "Accept other spellings of the call marker")
      ->excludes(jsonl);
  command->add_flag("--length", options->length, "The output ended at the token limit")->excludes(jsonl);
  command->callback([options, &outcome] { outcome.status = parse(*options); });
}

}  // namespace hadal::apps

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "standard_streams.h"
#include "text/token_lines.h"
#include "text/tokenizer.h"

namespace hadal::apps {
namespace {

struct Options {
  std::string tokenizer;
  std::vector<std::string> ids;
  bool jsonl = false;
  bool json = false;
  bool skip_special = false;
};

// Ids in decimal with blanks, commas or the brackets of a JSON list around them, appended to `ids`.
Status read_ids(std::string_view text, std::vector<std::int32_t>& ids) {
  constexpr std::string_view kBetween = " \t\r\n,[]";
  std::size_t at = text.find_first_not_of(kBetween);
  while (at != std::string_view::npos) {
    const std::size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    const std::string_view word = text.substr(at, end - at);
    std::int32_t id = 0;
    const auto [stop, status] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (status != std::errc() || stop != word.data() + word.size()) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is not a token id", word.substr(0, 64)));
    }
    ids.push_back(id);
    at = text.find_first_not_of(kBetween, end);
  }
  return {};
}

Status detokenize(const Options& options) {
  HADAL_ASSIGN(const text::Tokenizer tokenizer, text::Tokenizer::load(options.tokenizer));
  if (options.jsonl) {
    return answer_lines([&](std::string_view line) { return text::detokenize_line(tokenizer, line); });
  }
  std::vector<std::int32_t> ids;
  for (const std::string& word : options.ids) HADAL_TRY(read_ids(word, ids));
  if (options.ids.empty()) {
    constexpr std::int64_t kMaxIdsBytes = std::int64_t{1} << 30;
    HADAL_ASSIGN(const std::string words, read_standard_input(kMaxIdsBytes));
    HADAL_TRY(read_ids(words, ids));
  }
  HADAL_ASSIGN(const std::string text, tokenizer.decode(ids, {.skip_special = options.skip_special}));
  if (options.json) return write_standard_output(nlohmann::json(text).dump() + "\n");
  // Into a file or pipe goes the text alone, so that it can be compared.
  return write_standard_output(::isatty(STDOUT_FILENO) != 0 ? text + "\n" : text);
}

}  // namespace

void add_detokenize(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand("detokenize", "Token ids to text");
  command->add_option("--tokenizer", options->tokenizer, "tokenizer.json, tokenizer.json.zst or a checkpoint directory")
      ->required();
  CLI::Option* const ids =
      command->add_option("ID", options->ids, "The ids; without any they are read from standard input");
  CLI::Option* const jsonl =
      command->add_flag("--jsonl", options->jsonl, "Standard input has a JSON object a line: ids, skip_special")
          ->excludes(ids);
  command->add_flag("--skip-special", options->skip_special, "Leave out special tokens such as the end of the text")
      ->excludes(jsonl);
  command->add_flag("--json", options->json, "Print the text as a JSON string")->excludes(jsonl);
  command->callback([options, &outcome] { outcome.status = detokenize(*options); });
}

}  // namespace hadal::apps

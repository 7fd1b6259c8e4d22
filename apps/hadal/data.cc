#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/units.h"
#include "command.h"
#include "prepare_run.h"
#include "standard_streams.h"
#include "train/data/prepare.h"

namespace hadal::apps {
namespace {

struct Options {
  train::PrepareOptions prepare;
  std::vector<std::string> inputs;
  std::vector<std::string> weights;
  std::string out;
  std::string tokenizer;
  std::string join;
  std::string split;
  std::int64_t seq_len = 4096;
  bool json = false;
};

Result<double> number(std::string_view text, std::string_view flag) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}: '{}' is not a number", flag, text));
  }
  return value;
}

Status read_flags(Options& options) {
  train::PrepareOptions& prepare = options.prepare;
  prepare.inputs.assign(options.inputs.begin(), options.inputs.end());
  prepare.out = options.out;
  prepare.tokenizer = options.tokenizer;
  prepare.reading.join_books = !options.join.empty();
  for (const std::string& weight : options.weights) {
    const std::size_t sign = weight.rfind('=');
    if (sign == std::string::npos) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("--weight: '{}' is not of the form GROUP=NUMBER", weight));
    }
    HADAL_ASSIGN(prepare.weights[weight.substr(0, sign)],
                 number(std::string_view(weight).substr(sign + 1), "--weight"));
  }
  if (!options.split.empty()) {
    const std::size_t comma = options.split.find(',');
    const std::string_view split = options.split;
    HADAL_ASSIGN(const double valid, number(split.substr(0, comma), "--split"));
    double test = 0;
    if (comma != std::string::npos) {
      HADAL_ASSIGN(test, number(split.substr(comma + 1), "--split"));
    }
    prepare.valid_share = valid / 100;
    prepare.test_share = test / 100;
  }
  return {};
}

// Share of the tokens that lie in documents of at least `length` tokens.
double share_in_long(const train::PreparedSet& set, std::int64_t length) {
  std::int64_t all = 0;
  std::int64_t in_long = 0;
  for (const std::int64_t tokens : set.lengths) {
    all += tokens;
    if (tokens >= length) in_long += tokens;
  }
  return static_cast<double>(in_long) / static_cast<double>(std::max<std::int64_t>(all, 1));
}

std::string table(const Options& options, const train::PrepareReport& report) {
  std::size_t width = 5;
  for (const train::PreparedSet& set : report.sets) width = std::max(width, set.folder.size());
  std::string out = fmt::format("{:{}} {:>10} {:>13} {:>14} {:>11} {:>9}\n", "set", width, "documents", "tokens",
                                "bytes", "bytes/token", fmt::format(">= {}", options.seq_len));
  for (const train::PreparedSet& set : report.sets) {
    const train::SourceTotals totals = set.meta.totals();
    out +=
        fmt::format("{:{}} {:>10} {:>13} {:>14} {:>11.3f} {:>7.0f} %\n", set.folder, width,
                    with_separators(totals.documents), with_separators(totals.tokens), with_separators(totals.bytes),
                    static_cast<double>(totals.bytes) / static_cast<double>(std::max<std::int64_t>(totals.tokens, 1)),
                    100 * share_in_long(set, options.seq_len));
    if (set.meta.sources.size() < 2) continue;
    for (const train::SourceTotals& source : set.meta.sources) {
      out += fmt::format("  {:{}} {:>10} {:>13} {:>14}\n", source.name, width - 2, with_separators(source.documents),
                         with_separators(source.tokens), with_separators(source.bytes));
    }
  }
  return out;
}

std::string summary(const Options& options, const train::PrepareReport& report, double seconds) {
  std::string out = table(options, report) + "\n";
  for (const auto& [group, counts] : report.groups) {
    out += fmt::format("{}: {} records read", group, with_separators(counts.records));
    if (counts.joined > 0) out += fmt::format(", {} joined to the one before", with_separators(counts.joined));
    const train::DropCounts& dropped = counts.dropped;
    if (dropped.duplicate > 0) out += fmt::format(", {} dropped as duplicates", with_separators(dropped.duplicate));
    if (dropped.empty > 0) out += fmt::format(", {} dropped as empty", with_separators(dropped.empty));
    if (dropped.ill_formed > 0) out += fmt::format(", {} dropped as not UTF-8", with_separators(dropped.ill_formed));
    out += "\n";
  }
  if (report.skipped_files > 0) {
    out += fmt::format("{} files of other kinds were not read\n", with_separators(report.skipped_files));
  }
  out += fmt::format(
      "tokenizer: {} entries{}\n", with_separators(report.vocab_size),
      report.trained_tokenizer
          ? fmt::format(", trained on these texts; {} of them occur only inside longer ones", report.unused_tokens)
          : "");
  return out + fmt::format("{}: written in {:.1f} s\n", options.out, seconds);
}

Status prepare(Options& options) {
  HADAL_TRY(read_flags(options));
  const auto begin = std::chrono::steady_clock::now();
  HADAL_ASSIGN(const train::PrepareReport report, run_preparation(options.prepare));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return write_standard_output(options.json ? train::to_json(report) + "\n" : summary(options, report, seconds));
}

void add_prepare(CLI::App& data, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = data.add_subcommand("prepare", "Texts or chats to the token files that training reads");
  command
      ->add_option(
          "INPUT", options->inputs,
          "Files or folders: *.txt, *.md (a document each), *.jsonl (a 'text' or 'messages' a line), or packed "
          "as *.zst. Names or folders train, valid, test make the split")
      ->required();
  command->add_option("--out", options->out, "Folder to make")->required();
  CLI::Option_group* const tokenizer = command->add_option_group("tokenizer");
  tokenizer->add_option("--tokenizer", options->tokenizer, "tokenizer.json(.zst) or a folder that holds one");
  tokenizer->add_option("--train-tokenizer", options->prepare.train_vocab,
                        "Learn a tokenizer of so many entries from the training texts");
  tokenizer->require_option(1);
  command->add_option("--weight", options->weights,
                      "GROUP=NUMBER: how often a group counts for the tokenizer; a group is a JSONL file, or all texts "
                      "of an input");
  command->add_option("--join", options->join, "book: join records of one book that follow each other")
      ->check(CLI::IsMember({"book"}));
  command->add_option("--separator", options->prepare.reading.separator,
                      "Text that stands between two documents in a text file, such as <|endoftext|>");
  command->add_option("--split", options->split,
                      "VALID[,TEST]: per cent of documents without a split (long texts: of their lines); default 2,0");
  command->add_option("--seq", options->seq_len, "Length in tokens for the last column of the table")
      ->check(CLI::Range(2, 1 << 30))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print the report as JSON");
  command->callback([options, &outcome] { outcome.status = prepare(*options); });
}

}  // namespace

void add_data(CLI::App& app, Outcome& outcome) {
  CLI::App* const data = app.add_subcommand("data", "Training data");
  data->require_subcommand(1);
  add_prepare(*data, outcome);
}

}  // namespace hadal::apps

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/units.h"
#include "command.h"
#include "engine/choice.h"
#include "engine/compare.h"
#include "engine/perplexity.h"
#include "engine/recall.h"
#include "eval_texts.h"
#include "interrupt.h"
#include "load_model.h"
#include "progress.h"
#include "standard_streams.h"
#include "train/data/text_file.h"

namespace hadal::apps {
namespace {

using nlohmann::ordered_json;

struct Options {
  ModelFlags model;
  std::string other;  // compare: the second checkpoint
  TextFlags text;
  std::string questions;   // choice: the file
  std::int64_t limit = 0;  // questions; 0: all
  engine::RecallOptions recall;
  std::vector<std::int64_t> distances = {200, 1000, 4000, 12000};
  bool json = false;
};

/// What a number was computed with.
ordered_json setting(const LoadedModel& loaded, const ModelFlags& flags) {
  return {{"checkpoint", flags.checkpoint},
          {"backend", loaded.backend->name()},
          {"instruction_set", loaded.backend->instruction_set()},
          {"numerics", loaded.model->profile().name}};
}

// ---- text

struct TextRow {
  std::string name;
  std::int64_t documents = 0;
  engine::Perplexity sums;

  TextRow& operator+=(const engine::Perplexity& more) {
    ++documents;
    sums += more;
    return *this;
  }
};

ordered_json to_json(const TextRow& row, const char* key) {
  return {{key, row.name},
          {"documents", row.documents},
          {"tokens", row.sums.tokens},
          {"bytes", row.sums.bytes},
          {"bits", row.sums.bits},
          {"bits_per_byte", row.sums.bits_per_byte()},
          {"perplexity", row.sums.perplexity()},
          {"tokens_per_byte", row.sums.tokens_per_byte()}};
}

std::string to_line(const TextRow& row) {
  return fmt::format("{:<32} {:>9} {:>12} {:>11} {:>9.4f} {:>11.4f} {:>11.4f}\n", row.name,
                     with_separators(row.documents), with_separators(row.sums.bytes), with_separators(row.sums.tokens),
                     row.sums.bits_per_byte(), row.sums.perplexity(), row.sums.tokens_per_byte());
}

Status print_text(const Options& options, const LoadedModel& loaded, std::int64_t window,
                  const std::vector<TextRow>& files, const std::map<std::string, TextRow>& sources,
                  const TextRow& total, const train::ReadCounts& counts) {
  if (options.json) {
    ordered_json object = setting(loaded, options.model);
    object["window"] = window;
    object["dropped"] = counts.dropped.total();
    for (const TextRow& row : files) object["files"].push_back(to_json(row, "file"));
    for (const auto& [name, row] : sources) object["sources"].push_back(to_json(row, "source"));
    object["total"] = to_json(total, "name");
    return write_standard_output(object.dump() + "\n");
  }
  std::string out = fmt::format("{:<32} {:>9} {:>12} {:>11} {:>9} {:>11} {:>11}\n", "file", "documents", "bytes",
                                "tokens", "bits/byte", "perplexity", "tokens/byte");
  for (const TextRow& row : files) out += to_line(row);
  out += "by source\n";
  for (const auto& [name, row] : sources) out += to_line(row);
  out += to_line(total);
  if (counts.dropped.total() > 0) {
    out += fmt::format("left out: {} ill-formed, {} empty, {} duplicate records\n", counts.dropped.ill_formed,
                       counts.dropped.empty, counts.dropped.duplicate);
  }
  return write_standard_output(out);
}

Status run_text(const Options& options) {
  Interrupt interrupt;
  const std::stop_token stop = interrupt.begin();
  HADAL_ASSIGN(const std::vector<TextInput> inputs, read_texts(options.text, stop));
  HADAL_ASSIGN(LoadedModel loaded, load_model(options.model));
  HADAL_TRY(require_tokenizer(loaded, options.model));
  const std::int64_t window = text_window(loaded, options.model, inputs);
  HADAL_TRY(make_text_executor(loaded, options.model, window));

  std::vector<TextRow> files;
  std::map<std::string, TextRow> sources;
  TextRow total{.name = "all", .documents = 0, .sums = {}};
  train::ReadCounts counts;
  for (const TextInput& input : inputs) {
    counts.dropped += input.counts.dropped;
    files.push_back({.name = input.path, .documents = 0, .sums = {}});
  }
  HADAL_TRY(for_each_text(inputs, loaded, [&](const MeasuredText& text) -> Status {
    HADAL_ASSIGN(const engine::Perplexity sums,
                 engine::measure_perplexity(*loaded.executor, &*loaded.tokenizer, text.tokens,
                                            text.options(window, options.text.stride, options.model.chunk), stop));
    files[text.file] += sums;
    total += sums;
    TextRow& source = sources[text.document.source];
    source.name = text.document.source;
    source += sums;
    return {};
  }));
  return print_text(options, loaded, window, files, sources, total, counts);
}

// ---- choice

/// The questions of a file, in order; blank lines are passed over.
Result<std::vector<engine::ChoiceQuestion>> read_questions(const std::string& path, std::int64_t limit) {
  HADAL_ASSIGN(train::TextFile file, train::TextFile::open(path));
  std::vector<engine::ChoiceQuestion> questions;
  std::string_view text;
  for (std::int64_t line = 1; limit == 0 || std::ssize(questions) < limit; ++line) {
    HADAL_ASSIGN(const bool more, file.next("\n", text));
    if (!more) break;
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto question = engine::parse_choice_question(text);
    if (!question) {
      return fail(question.error().code, fmt::format("{}, line {}: {}", path, line, question.error().message));
    }
    questions.push_back(std::move(*question));
  }
  if (questions.empty()) return fail(ErrorCode::kInvalidArgument, fmt::format("{}: there is no question in it", path));
  return questions;
}

/// Room for the longest question; its choices go through the model together, up to eight of them.
Status make_choice_executor(LoadedModel& loaded, const ModelFlags& flags,
                            const std::vector<engine::ChoiceTokens>& questions) {
  std::int64_t longest = 0;
  std::int64_t most = 0;
  for (const engine::ChoiceTokens& question : questions) {
    longest = std::max(longest, question.longest());
    most = std::max<std::int64_t>(most, std::ssize(question.choices));
  }
  const std::int64_t room = flags.context > 0 ? flags.context : loaded.model->config().max_position_embeddings;
  if (longest > room) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the longest question has {} tokens with its answer, but the context has room for {}",
                            with_separators(longest), with_separators(room)));
  }
  const std::int64_t sequences = 1 + std::min<std::int64_t>(most, 8);
  const std::int64_t rows = std::max(flags.chunk, sequences);
  return make_executor(loaded, {.max_rows = rows,
                                .max_sequences = sequences,
                                .max_logits_rows = logits_rows(loaded.model->config(), rows),
                                .max_tokens = longest});
}

Status run_choice(const Options& options) {
  Interrupt interrupt;
  const std::stop_token stop = interrupt.begin();
  HADAL_ASSIGN(const auto questions, read_questions(options.questions, options.limit));
  HADAL_ASSIGN(LoadedModel loaded, load_model(options.model));
  HADAL_TRY(require_tokenizer(loaded, options.model));
  const std::vector<std::int64_t> bos{loaded.model->config().bos_token_id};
  std::vector<engine::ChoiceTokens> tokens;
  for (const engine::ChoiceQuestion& question : questions) {
    HADAL_ASSIGN(tokens.emplace_back(), engine::choice_tokens(*loaded.tokenizer, bos, question));
  }
  HADAL_TRY(make_choice_executor(loaded, options.model, tokens));
  ProgressBar progress("Asking", "questions");
  engine::ChoiceTally tally;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    HADAL_ASSIGN(const std::vector<double> logprobs,
                 engine::choice_logprobs(*loaded.executor, tokens[i], options.model.chunk, stop));
    tally.add(questions[i], logprobs);
    progress.update(tally.questions, std::ssize(questions));
  }
  progress.clear();
  const double error = tally.standard_error(tally.accuracy());
  const double error_per_byte = tally.standard_error(tally.accuracy_per_byte());
  if (options.json) {
    ordered_json object = setting(loaded, options.model);
    object["questions"] = tally.questions;
    object["correct"] = tally.correct;
    object["accuracy"] = tally.accuracy();
    object["standard_error"] = error;
    object["correct_per_byte"] = tally.correct_per_byte;
    object["accuracy_per_byte"] = tally.accuracy_per_byte();
    object["standard_error_per_byte"] = error_per_byte;
    object["chance"] = tally.chance();
    return write_standard_output(object.dump() + "\n");
  }
  return write_standard_output(
      fmt::format("{} questions: accuracy {:.4f} +- {:.4f}, by log-probability per byte {:.4f} +- {:.4f}; chance "
                  "{:.4f}\n",
                  with_separators(tally.questions), tally.accuracy(), error, tally.accuracy_per_byte(), error_per_byte,
                  tally.chance()));
}

// ---- compare

struct CompareRow {
  std::string name;
  engine::Divergence sums;
};

ordered_json to_json(const CompareRow& row) {
  return {{"file", row.name},
          {"tokens", row.sums.tokens},
          {"kl_nats", row.sums.mean()},
          {"largest_kl_nats", row.sums.largest},
          {"top1_agreement", row.sums.agreement()}};
}

std::string to_line(const CompareRow& row) {
  return fmt::format("{:<32} {:>11} {:>13.6f} {:>11.4f} {:>11.4f}\n", row.name, with_separators(row.sums.tokens),
                     row.sums.mean(), row.sums.largest, row.sums.agreement());
}

Result<LoadedModel> load_other(const Options& options, const LoadedModel& loaded) {
  ModelFlags flags = options.model;
  flags.checkpoint = options.other;
  HADAL_ASSIGN(LoadedModel other, load_model(flags));
  const std::int64_t vocab = loaded.model->config().vocab_size;
  const bool same = other.model->config().vocab_size == vocab &&
                    (!other.tokenizer || engine::same_vocabulary(*loaded.tokenizer, *other.tokenizer));
  if (!same) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} and {} have different vocabularies; only the predictions of models with the same one "
                            "can be compared",
                            options.model.checkpoint, options.other));
  }
  return other;
}

Status run_compare(const Options& options) {
  Interrupt interrupt;
  const std::stop_token stop = interrupt.begin();
  HADAL_ASSIGN(const std::vector<TextInput> inputs, read_texts(options.text, stop));
  HADAL_ASSIGN(LoadedModel loaded, load_model(options.model));
  HADAL_TRY(require_tokenizer(loaded, options.model));
  HADAL_ASSIGN(LoadedModel other, load_other(options, loaded));
  const std::int64_t window = text_window(loaded, options.model, inputs);
  HADAL_TRY(make_text_executor(loaded, options.model, window));
  HADAL_TRY(make_text_executor(other, options.model, window));

  std::vector<CompareRow> files;
  for (const TextInput& input : inputs) files.push_back({.name = input.path, .sums = {}});
  CompareRow total{.name = "all", .sums = {}};
  HADAL_TRY(for_each_text(inputs, loaded, [&](const MeasuredText& text) -> Status {
    HADAL_ASSIGN(const engine::Divergence sums,
                 engine::compare_models(*loaded.executor, *other.executor, text.tokens,
                                        text.options(window, options.text.stride, options.model.chunk), stop));
    files[text.file].sums += sums;
    total.sums += sums;
    return {};
  }));
  if (options.json) {
    ordered_json object = setting(loaded, options.model);
    object["other"] = options.other;
    object["window"] = window;
    for (const CompareRow& row : files) object["files"].push_back(to_json(row));
    object["total"] = to_json(total);
    return write_standard_output(object.dump() + "\n");
  }
  std::string out =
      fmt::format("{:<32} {:>11} {:>13} {:>11} {:>11}\n", "file", "tokens", "KL in nats", "largest", "same top-1");
  for (const CompareRow& row : files) out += to_line(row);
  return write_standard_output(out + to_line(total));
}

// ---- recall

/// Answers at one distance, by kind of fact.
struct RecallRow {
  std::int64_t distance = 0;
  engine::ChoiceTally all;
  std::array<engine::ChoiceTally, engine::kFactKinds> kinds;
};

ordered_json to_json(const engine::ChoiceTally& tally) {
  return {{"questions", tally.questions},
          {"correct", tally.correct},
          {"accuracy", tally.accuracy()},
          {"standard_error", tally.standard_error(tally.accuracy())}};
}

Status print_recall(const Options& options, const LoadedModel& loaded, const std::vector<RecallRow>& rows) {
  const double chance = 1.0 / static_cast<double>(options.recall.candidates);
  if (options.json) {
    ordered_json object = setting(loaded, options.model);
    object["candidates"] = options.recall.candidates;
    object["chance"] = chance;
    object["seed"] = options.recall.seed;
    for (const RecallRow& row : rows) {
      ordered_json entry = {{"distance", row.distance}};
      entry.update(to_json(row.all));
      for (std::size_t kind = 0; kind < row.kinds.size(); ++kind) {
        if (row.kinds[kind].questions == 0) continue;
        entry["kinds"][std::string(name(static_cast<engine::FactKind>(kind)))] = to_json(row.kinds[kind]);
      }
      object["distances"].push_back(std::move(entry));
    }
    return write_standard_output(object.dump() + "\n");
  }
  std::string out = fmt::format("{:>9} {:>10} {:>9} {:>8}", "distance", "questions", "accuracy", "+-");
  for (std::size_t kind = 0; kind < engine::kFactKinds; ++kind) {
    out += fmt::format(" {:>9}", name(static_cast<engine::FactKind>(kind)));
  }
  out += "\n";
  for (const RecallRow& row : rows) {
    out += fmt::format("{:>9} {:>10} {:>9.4f} {:>8.4f}", with_separators(row.distance), row.all.questions,
                       row.all.accuracy(), row.all.standard_error(row.all.accuracy()));
    for (const engine::ChoiceTally& tally : row.kinds) {
      out += tally.questions == 0 ? fmt::format(" {:>9}", "-") : fmt::format(" {:>9.4f}", tally.accuracy());
    }
    out += "\n";
  }
  return write_standard_output(out + fmt::format("chance {:.4f}\n", chance));
}

/// The questions of all distances; refused where one does not fit into the context.
Result<std::vector<engine::RecallQuestion>> make_questions(const Options& options, const LoadedModel& loaded,
                                                           const engine::RecallText& text) {
  const std::int64_t longest =
      options.model.context > 0 ? options.model.context : loaded.model->config().max_position_embeddings;
  std::vector<engine::RecallQuestion> questions;
  for (const std::int64_t distance : options.distances) {
    engine::RecallOptions recall = options.recall;
    recall.distance = distance;
    HADAL_ASSIGN(auto more,
                 engine::make_recall_questions(*loaded.tokenizer, loaded.model->config().bos_token_id, text, recall));
    for (engine::RecallQuestion& question : more) {
      if (question.tokens.longest() > longest) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("--distances: {} tokens apart needs a context of {}, but the context is {}",
                                with_separators(distance), with_separators(question.tokens.longest()),
                                with_separators(longest)));
      }
      questions.push_back(std::move(question));
    }
  }
  return questions;
}

Status run_recall(const Options& options) {
  Interrupt interrupt;
  const std::stop_token stop = interrupt.begin();
  HADAL_ASSIGN(const std::vector<TextInput> inputs, read_texts(options.text, stop));
  HADAL_ASSIGN(LoadedModel loaded, load_model(options.model));
  HADAL_TRY(require_tokenizer(loaded, options.model));
  engine::RecallText text;
  for (const TextInput& input : inputs) {
    for (const train::Document& document : input.documents) HADAL_TRY(text.add(*loaded.tokenizer, document.text));
  }
  HADAL_ASSIGN(const auto questions, make_questions(options, loaded, text));
  std::vector<engine::ChoiceTokens> tokens;
  std::int64_t total = 0;
  for (const engine::RecallQuestion& question : questions) {
    tokens.push_back(question.tokens);
    total += std::ssize(question.tokens.context);
  }
  HADAL_TRY(make_choice_executor(loaded, options.model, tokens));

  ProgressBar progress("Asking");
  std::vector<RecallRow> rows;
  std::int64_t done = 0;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    HADAL_ASSIGN(const std::vector<double> logprobs,
                 engine::choice_logprobs(*loaded.executor, tokens[i], options.model.chunk, stop));
    const auto per_distance = static_cast<std::size_t>(options.recall.questions);
    if (i % per_distance == 0)
      rows.push_back({.distance = options.distances[i / per_distance], .all = {}, .kinds = {}});
    rows.back().all.add(questions[i].sentence, logprobs);
    rows.back().kinds[static_cast<std::size_t>(questions[i].kind)].add(questions[i].sentence, logprobs);
    progress.update(done += std::ssize(tokens[i].context), total);
  }
  progress.clear();
  return print_recall(options, loaded, rows);
}

// ---- flags

using Command = Status (*)(const Options&);

CLI::App* add_measurement(CLI::App& eval, Outcome& outcome, const std::shared_ptr<Options>& options, const char* name,
                          const char* help, Command run) {
  CLI::App* const command = eval.add_subcommand(name, help);
  add_model_flags(*command, options->model);
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, run, &outcome] { outcome.status = run(*options); });
  return command;
}

void add_text(CLI::App& eval, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command =
      add_measurement(eval, outcome, options, "text", "Bits per byte and perplexity, by file and source", run_text);
  add_text_files(*command, options->text, "Files to measure");
  add_window_flags(*command, options->text);
}

void add_choice(CLI::App& eval, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command =
      add_measurement(eval, outcome, options, "choice", "How often the likeliest choice is the answer", run_choice);
  command
      ->add_option("FILE", options->questions,
                   "JSON lines: {\"context\": text, \"choices\": [texts], \"answer\": index from 0}")
      ->required();
  command->add_option("--limit", options->limit, "Most questions (default: all)")->check(CLI::PositiveNumber);
}

void add_compare(CLI::App& eval, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command =
      add_measurement(eval, outcome, options, "compare", "Divergence of another model's predictions", run_compare);
  command->add_option("OTHER", options->other, "Directory of the checkpoint that is compared with the first")
      ->required();
  add_text_files(*command, options->text, "Files to measure");
  add_window_flags(*command, options->text);
}

void add_recall(CLI::App& eval, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = add_measurement(eval, outcome, options, "recall",
                                            "Whether a fact in a text is found again many tokens later", run_recall);
  add_text_files(*command, options->text, "Text between fact and question");
  command->add_option("--distances", options->distances, "Tokens between fact and question")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--limit", options->recall.questions, "Questions at each distance")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--candidates", options->recall.candidates, "Answers to choose from")->capture_default_str();
  command->add_option("--seed", options->recall.seed, "Of facts and places")->capture_default_str();
}

}  // namespace

void add_eval(CLI::App& app, Outcome& outcome) {
  CLI::App* const eval = app.add_subcommand("eval", "How good a model is");
  eval->require_subcommand(1);
  add_text(*eval, outcome);
  add_choice(*eval, outcome);
  add_compare(*eval, outcome);
  add_recall(*eval, outcome);
}

}  // namespace hadal::apps

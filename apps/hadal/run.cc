#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "command.h"
#include "engine/chat_session.h"
#include "engine/session.h"
#include "generation_flags.h"
#include "interrupt.h"
#include "load_model.h"
#include "progress.h"
#include "prompt_ids.h"
#include "standard_streams.h"
#include "trace_file.h"

namespace hadal::apps {
namespace {

using nlohmann::ordered_json;

struct Options {
  ModelFlags model;
  std::string trace;
  GenerationFlags generation;
  std::string prompt;
  bool has_prompt = false;
  std::string file;
  std::string system;
  bool raw = false;
  bool ids = false;
  bool think = false;
  std::string effort;
  bool json = false;
  bool quiet = false;
  bool ignore_eos = false;
};

/// Writes an answer as it comes: text or ids to standard output, reasoning and progress to standard error. With --json
/// everything is kept for one object at the end.
class AnswerWriter final : public engine::TokenSink {
 public:
  AnswerWriter(const Options& options, bool ids)
      : json_(options.json), ids_(ids), dim_(::isatty(STDERR_FILENO) == 1), progress_("Reading the prompt") {}

  Status prefilled(std::int64_t done, std::int64_t total) override {
    progress_.update(done, total);
    return {};
  }
  Result<bool> token(const engine::TokenEvent& event) override {
    HADAL_TRY(keep(event));
    HADAL_TRY(ids_ ? write(fmt::format("{}{}", tokens_.size() > 1 ? " " : "", event.token)) : content(event.text));
    return false;
  }
  Status tail(std::string_view text) override { return content(text); }

  /// Of a chat: the token's text comes by chat_event().
  Status keep(const engine::TokenEvent& event) {
    progress_.clear();
    tokens_.push_back(event.token);
    if (event.logprobs.empty()) return {};
    ordered_json best = ordered_json::array();
    for (const engine::TokenLogprob& entry : event.logprobs.subspan(1)) {
      best.push_back({{"token", entry.token}, {"logprob", entry.logprob}});
    }
    logprobs_.push_back({{"token", event.token}, {"logprob", event.logprobs.front().logprob}, {"best", best}});
    return {};
  }
  Status chat_event(const text::ChatEvent& event) {
    if (event.kind == text::ChatEventKind::kContent) return content(event.text);
    if (event.kind != text::ChatEventKind::kReasoning) return {};
    reasoning_ += event.text;
    if (!json_) fmt::print(stderr, "{}{}{}", dim_ ? "\x1b[2m" : "", event.text, dim_ ? "\x1b[0m" : "");
    return {};
  }

  /// Ends the output: the last newline, or the JSON object.
  Status finish(ordered_json object) {
    if (!json_) {
      for (const ordered_json& entry : logprobs_) fmt::print(stderr, "\n{}", entry.dump());
      return write("\n");
    }
    if (!ids_) object["text"] = text_;
    if (!reasoning_.empty()) object["reasoning"] = reasoning_;
    object["tokens"] = tokens_;
    if (!logprobs_.empty()) object["logprobs"] = logprobs_;
    return write_standard_output(object.dump() + "\n");
  }

 private:
  Status content(std::string_view text) {
    if (!json_) return write(text);
    text_ += text;
    return {};
  }
  Status write(std::string_view text) { return json_ || text.empty() ? Status{} : write_standard_output(text); }

  bool json_;
  bool ids_;
  bool dim_;
  ProgressBar progress_;
  std::vector<std::int64_t> tokens_;
  std::string text_;
  std::string reasoning_;
  ordered_json logprobs_ = ordered_json::array();
};

/// What every way of answering reports at the end.
struct Answered {
  engine::FinishReason reason = engine::FinishReason::kNone;
  engine::GenerationStatistics statistics;
  std::int64_t prompt_tokens = 0;
};

Result<std::string> prompt_text(const Options& options) {
  if (options.has_prompt) return options.prompt;
  if (!options.file.empty()) return read_file(options.file, text::Tokenizer::kMaxTextBytes);
  return read_standard_input(text::Tokenizer::kMaxTextBytes);
}

Status prepare(LoadedModel& loaded, const Options& options, std::int64_t tokens) {
  const bool drafts = options.generation.drafts != "off";
  const std::int64_t most_drafts = std::max(options.generation.max_drafts, loaded.model->config().dspark.block_size);
  const std::int64_t context = options.model.context > 0 ? options.model.context : tokens;
  return make_executor(loaded, {.max_rows = std::max(std::min(options.model.chunk, context), most_drafts + 1),
                                .max_sequences = 1,
                                .max_logits_rows = most_drafts + 1,
                                .max_tokens = context,
                                .max_drafts = drafts ? options.generation.max_drafts : 0});
}

Result<Answered> answer_raw(LoadedModel& loaded, const Options& options, engine::GenerationOptions generation,
                            std::string_view prompt, bool ids, AnswerWriter& writer) {
  std::vector<std::int64_t> tokens;
  if (ids) {
    HADAL_ASSIGN(tokens, parse_ids(prompt, loaded.tokenizer.has_value()));
  } else {
    HADAL_ASSIGN(const auto encoded, loaded.tokenizer->encode(prompt));
    tokens.assign(encoded.begin(), encoded.end());
  }
  HADAL_TRY(prepare(loaded, options, static_cast<std::int64_t>(tokens.size()) + generation.max_tokens));
  const text::Tokenizer* tokenizer = ids ? nullptr : loaded.tokenizer_or_null();
  HADAL_ASSIGN(const auto session,
               engine::Session::create(*loaded.executor, tokenizer, {.chunk = options.model.chunk}));
  HADAL_TRY(session->set_prompt(tokens));
  if (!options.ignore_eos) generation.stop_tokens.push_back(loaded.model->config().eos_token_id);
  Interrupt interrupt;
  HADAL_TRY(session->generate(generation, writer, interrupt.begin()));
  return Answered{session->sequence().reason(), session->sequence().statistics(),
                  static_cast<std::int64_t>(tokens.size())};
}

Result<Answered> answer_chat(LoadedModel& loaded, const Options& options, const engine::GenerationOptions& generation,
                             const std::string& prompt, AnswerWriter& writer) {
  // The markers around the texts are few; the true prompt is checked against the context when it is written.
  constexpr std::int64_t kMarkers = 256;
  std::int64_t size = kMarkers + generation.max_tokens;
  for (const std::string* text : {&prompt, &options.system}) {
    HADAL_ASSIGN(const auto encoded, loaded.tokenizer->encode(*text, {.added_tokens = text::AddedTokens::kOff}));
    size += static_cast<std::int64_t>(encoded.size());
  }
  HADAL_TRY(prepare(loaded, options, size));
  const engine::ChatStyle style{.revision = text::detect_chat_revision(loaded.checkpoint->directory()),
                                .thinking = options.think || !options.effort.empty(),
                                .effort = options.effort,
                                .system = options.system};
  HADAL_ASSIGN(const auto chat,
               engine::ChatSession::create(*loaded.executor, *loaded.tokenizer, style, {.chunk = options.model.chunk}));
  const engine::ReplySink sink{
      .prefilled = [&](std::int64_t done, std::int64_t total) { return writer.prefilled(done, total); },
      .token = [&](const engine::TokenEvent& event) { return writer.keep(event); },
      .chat_event = [&](const text::ChatEvent& event) { return writer.chat_event(event); }};
  Interrupt interrupt;
  HADAL_ASSIGN(const engine::Reply reply, chat->reply(prompt, generation, sink, interrupt.begin()));
  return Answered{reply.reason, reply.statistics, reply.prompt_tokens};
}

Status run(const Options& options, int& exit_code) {
  HADAL_ASSIGN(const engine::GenerationOptions generation, generation_options(options.generation));
  HADAL_ASSIGN(LoadedModel loaded, load_model(options.model));
  HADAL_ASSIGN(const std::string prompt, prompt_text(options));
  const bool ids = options.ids || !loaded.tokenizer;
  AnswerWriter writer(options, ids);
  HADAL_ASSIGN(const Answered answered, ids || options.raw
                                            ? answer_raw(loaded, options, generation, prompt, ids, writer)
                                            : answer_chat(loaded, options, generation, prompt, writer));
  HADAL_TRY(writer.finish({{"finish_reason", engine::name(answered.reason)},
                           {"prompt_tokens", answered.prompt_tokens},
                           {"backend", loaded.backend->name()},
                           {"instruction_set", loaded.backend->instruction_set()},
                           {"numerics", loaded.model->profile().name},
                           {"statistics", to_json(answered.statistics)}}));
  if (!options.quiet && !options.json) fmt::print(stderr, "{}\n", summary(answered.statistics));
  if (answered.reason == engine::FinishReason::kCancelled) exit_code = apps::exit_code(ErrorCode::kCancelled);
  return {};
}

}  // namespace

void add_run(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand("run", "Answer a prompt");
  add_model_flags(*command, options->model);
  CLI::Option* const prompt = command->add_option("PROMPT", options->prompt,
                                                  "The prompt; without it and --file standard input, to its last byte");
  command->add_option("--file", options->file, "Read the prompt from this file")->excludes(prompt);
  CLI::Option* const raw = command->add_flag(
      "--raw", options->raw, "The prompt is the very text that the model continues, without the chat format");
  CLI::Option* const ids =
      command->add_flag("--ids", options->ids, "Prompt and answer are token ids (always so without a tokenizer)");
  command->add_flag("--ignore-eos", options->ignore_eos, "With --raw or ids: go on after the end-of-sentence token");
  command->add_option("--system", options->system, "System message of the chat")->excludes(raw)->excludes(ids);
  command->add_flag("--think", options->think, "Let the model reason before it answers (to standard error)")
      ->excludes(raw)
      ->excludes(ids);
  command->add_option("--effort", options->effort, "Reasoning effort: low, high, max; implies --think")
      ->excludes(raw)
      ->excludes(ids);
  add_generation_flags(*command, options->generation);
  command->add_option("--logprobs", options->generation.options.sampling.logprobs,
                      "Also tell the log probability of each token and of this many best ones");
  command->add_flag("--json", options->json, "Print one JSON object at the end");
  add_trace_flag(*command, options->trace);
  command->add_flag("--quiet", options->quiet, "Do not print speeds");
  command->callback([options, prompt, &outcome] {
    options->has_prompt = prompt->count() > 0;
    outcome.status = traced(options->trace, [&] { return run(*options, outcome.exit_code); });
  });
}

}  // namespace hadal::apps

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "base/units.h"
#include "command.h"
#include "engine/chat_session.h"
#include "generation_flags.h"
#include "interrupt.h"
#include "line_reader.h"
#include "load_model.h"
#include "progress.h"
#include "shipped_model.h"
#include "standard_streams.h"

namespace hadal::apps {
namespace {

constexpr std::string_view kHelp =
    "/help           this list\n"
    "/reset          forget the conversation\n"
    "/save FILE      write the conversation to FILE as JSON\n"
    "/system TEXT    set the system message (none without TEXT)\n"
    "/think [LEVEL]  let the model reason: low, high, max, or off; without LEVEL tell the present one\n"
    "/exit           leave (or Ctrl-D); Ctrl-C stops an answer\n"
    "//TEXT          send TEXT that begins with one /\n";

struct Options {
  ModelFlags model;
  GenerationFlags generation;
  std::string system;
  bool think = false;
  std::string effort;
  bool quiet = false;
};

/// The conversation at the keyboard.
class Chat {
 public:
  Chat(const Options& options, engine::GenerationOptions generation, engine::ChatSession& session)
      : options_(options),
        generation_(std::move(generation)),
        session_(session),
        lines_("> "),
        dim_(::isatty(STDOUT_FILENO) == 1) {}

  Status run() {
    if (lines_.terminal()) fmt::print("Type a message, or /help.\n");
    while (!leaving_) {
      HADAL_ASSIGN(const std::optional<std::string> line, lines_.next());
      if (!line) return {};
      if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
      const bool command = line->starts_with('/') && !line->starts_with("//");
      const Status status = command ? obey(*line) : answer(line->substr(line->starts_with("//") ? 1 : 0));
      if (status) continue;
      // What is wrong with one line is told; the conversation goes on, unless nobody can read it any more.
      if (status.error().code == ErrorCode::kUnavailable) return status;
      fmt::print(stderr, "hadal: {}\n", status.error().message);
    }
    return {};
  }

 private:
  Status answer(std::string text) {
    ProgressBar progress("Reading");
    bool reasoning = false;
    const auto styled = [&](bool now) -> Status {
      if (now == std::exchange(reasoning, now)) return {};
      return write_standard_output(now ? (dim_ ? "\x1b[2m" : "") : (dim_ ? "\x1b[0m\n" : "\n"));
    };
    const engine::ReplySink sink{.prefilled = [&](std::int64_t done, std::int64_t total) -> Status {
                                   progress.update(done, total);
                                   return {};
                                 },
                                 .token = [&](const engine::TokenEvent&) -> Status {
                                   progress.clear();
                                   return {};
                                 },
                                 .chat_event = [&](const text::ChatEvent& event) -> Status {
                                   HADAL_TRY(styled(event.kind == text::ChatEventKind::kReasoning));
                                   return write_standard_output(event.text);
                                 }};
    HADAL_ASSIGN(const engine::Reply reply, session_.reply(std::move(text), generation_, sink, interrupt_.begin()));
    HADAL_TRY(styled(false));
    HADAL_TRY(write_standard_output("\n"));
    report(reply);
    return {};
  }

  void report(const engine::Reply& reply) const {
    if (reply.reason == engine::FinishReason::kCancelled) fmt::print(stderr, "(stopped)\n");
    if (reply.reason == engine::FinishReason::kMaxTokens) {
      fmt::print(stderr, "(cut after {} tokens; see --max-tokens)\n", reply.statistics.answer_tokens);
    }
    if (reply.reason == engine::FinishReason::kContextFull) {
      fmt::print(stderr, "(the context is full: /reset, or start again with a larger --context)\n");
    }
    if (options_.quiet) return;
    fmt::print(stderr, "({} tokens reused; {})\n", reply.reused_tokens, summary(reply.statistics));
  }

  Status obey(std::string_view line) {
    const std::size_t space = std::min(line.find(' '), line.size());
    const std::string_view command = line.substr(0, space);
    std::string argument(line.substr(std::min(line.find_first_not_of(' ', space), line.size())));
    if (command == "/help") return write_standard_output(kHelp);
    if (command == "/exit" || command == "/quit") {
      leaving_ = true;
      return {};
    }
    if (command == "/reset") {
      session_.reset();
      return {};
    }
    if (command == "/save") return save(argument);
    engine::ChatStyle style = session_.style();
    if (command == "/system") {
      style.system = std::move(argument);
      session_.set_style(std::move(style));
      return {};
    }
    if (command == "/think") return think(argument);
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} is no command; /help lists them, and // sends a text that begins with /", command));
  }

  Status think(const std::string& level) {
    engine::ChatStyle style = session_.style();
    if (level.empty()) {
      const std::string effort = style.effort.empty() ? "the default effort" : style.effort;
      return write_standard_output(style.thinking ? fmt::format("on, {}\n", effort) : "off\n");
    }
    if (level != "off" && level != "on" && level != "low" && level != "high" && level != "max") {
      return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is no level; use low, high, max, on or off", level));
    }
    style.thinking = level != "off";
    style.effort = level == "on" || level == "off" ? "" : level;
    session_.set_style(std::move(style));
    return {};
  }

  Status save(const std::string& path) const {
    if (path.empty()) return fail(ErrorCode::kInvalidArgument, "/save needs the name of a file");
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    if (!session_.style().system.empty())
      messages.push_back({{"role", "system"}, {"content", session_.style().system}});
    for (const text::Message& message : session_.messages()) {
      messages.push_back({{"role", message.role}, {"content", message.content.text}});
      if (!message.reasoning_content.empty()) messages.back()["reasoning_content"] = message.reasoning_content;
    }
    HADAL_TRY(write_file_atomically(path, nlohmann::ordered_json{{"messages", messages}}.dump(2) + "\n"));
    fmt::print(stderr, "({} messages in {})\n", messages.size(), path);
    return {};
  }

  const Options& options_;
  engine::GenerationOptions generation_;
  engine::ChatSession& session_;
  LineReader lines_;
  Interrupt interrupt_;
  bool dim_;
  bool leaving_ = false;
};

Status run(const Options& options) {
  HADAL_ASSIGN(LoadedModel loaded, load_model(options.model));
  HADAL_ASSIGN(engine::GenerationOptions generation,
               generation_options(options.generation, loaded.checkpoint->directory()));
  if (!loaded.tokenizer) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("{}: has no tokenizer, which a chat needs; name one by --tokenizer, or give token ids to "
                            "`hadal run`",
                            options.model.checkpoint));
  }
  constexpr std::int64_t kDefaultContext = 32768;
  const auto& config = loaded.model->config();
  std::int64_t context = options.model.context;
  if (context == 0) {
    context = config.max_position_embeddings > 0 ? std::min(kDefaultContext, config.max_position_embeddings)
                                                 : kDefaultContext;
  }
  const bool drafts = options.generation.drafts != "off";
  const std::int64_t most_drafts = std::max(options.generation.max_drafts, config.dspark.block_size);
  HADAL_TRY(make_executor(loaded, {.max_rows = std::max(std::min(options.model.chunk, context), most_drafts + 1),
                                   .max_sequences = 1,
                                   .max_logits_rows = most_drafts + 1,
                                   .max_tokens = context,
                                   .max_drafts = drafts ? options.generation.max_drafts : 0}));
  const engine::ChatStyle style{.revision = text::detect_chat_revision(loaded.checkpoint->directory()),
                                .thinking = options.think || !options.effort.empty(),
                                .effort = options.effort,
                                .system = options.system};
  HADAL_ASSIGN(const auto session,
               engine::ChatSession::create(*loaded.executor, *loaded.tokenizer, style, {.chunk = options.model.chunk}));
  return Chat(options, std::move(generation), *session).run();
}

}  // namespace

void add_chat(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  options->generation.options.max_tokens = 4096;
  CLI::App* const command = app.add_subcommand("chat", "Talk with the model; /help lists the commands inside");
  options->model.checkpoint = kShippedModel;
  add_model_flags(*command, options->model);
  command->get_option("CHECKPOINT")->required(false)->capture_default_str();
  command->add_option("--system", options->system, "System message");
  command->add_flag("--think", options->think, "Let the model reason before it answers");
  command->add_option("--effort", options->effort, "Reasoning effort: low, high, max; implies --think");
  add_generation_flags(*command, options->generation);
  for (const char* flag : {"--temperature", "--top-p", "--top-k"}) {
    command->get_option(flag)->default_str("as the checkpoint recommends");
  }
  command->add_flag("--quiet", options->quiet, "Do not print speeds");
  command->callback([options, &outcome] { outcome.status = run(*options); });
}

}  // namespace hadal::apps

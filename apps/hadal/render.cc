#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>

#include "base/mapped_file.h"
#include "command.h"
#include "standard_streams.h"
#include "text/chat_json.h"
#include "text/chat_lines.h"

namespace hadal::apps {
namespace {

constexpr std::int64_t kMaxChatBytes = std::int64_t{64} << 20;

struct Options {
  std::string tokenizer;
  std::string file;
  std::vector<std::string> user;
  std::string system;
  std::string mode = "official";
  std::string revision = "auto";
  std::string thinking_mode = "thinking";
  std::string effort;
  bool jsonl = false;
  bool ids = false;
  bool json = false;
  bool keep_thinking = false;
  bool no_bos = false;
};

/// Revision of the checkpoint that holds the tokenizer; 0731 without one.
text::ChatRevision revision_of(const std::string& tokenizer) {
  if (tokenizer.empty()) return text::ChatRevision::k0731;
  const std::filesystem::path path(tokenizer);
  return text::detect_chat_revision(std::filesystem::is_directory(path) ? path : path.parent_path());
}

Status render_lines(const Options& options, const text::Tokenizer* tokenizer) {
  text::RenderLineOptions line_options;
  line_options.tokenizer = tokenizer;
  line_options.mode = options.mode == "guarded" ? text::TextMode::kGuarded : text::TextMode::kOfficial;
  if (options.revision != "auto") {
    HADAL_ASSIGN(line_options.revision, text::chat_revision_from(options.revision));
  }
  return answer_lines([&](std::string_view line) { return text::render_line(line, line_options); });
}

Result<std::vector<text::Message>> messages(const Options& options) {
  std::vector<text::Message> chat;
  if (options.user.empty()) {
    const bool from_file = !options.file.empty();
    HADAL_ASSIGN(const std::string json,
                 from_file ? read_file(options.file, kMaxChatBytes) : read_standard_input(kMaxChatBytes));
    const auto value = text::parse_json(json);
    if (!value) {
      return fail(value.error().code,
                  fmt::format("{}: {}", from_file ? options.file : "standard input", value.error().message));
    }
    HADAL_ASSIGN(chat, text::messages_from_json(*value, "messages"));
  }
  if (!options.system.empty()) {
    chat.insert(chat.begin(), text::Message{.role = "system", .content = {.text = options.system}});
  }
  for (const std::string& user : options.user) {
    chat.push_back(text::Message{.role = "user", .content = {.text = user}});
  }
  return chat;
}

Status render(const Options& options) {
  std::optional<text::Tokenizer> tokenizer;
  if (!options.tokenizer.empty() && (options.jsonl || options.ids)) {
    HADAL_ASSIGN(tokenizer, text::Tokenizer::load(options.tokenizer));
  }
  if (options.jsonl) return render_lines(options, tokenizer ? &*tokenizer : nullptr);
  HADAL_ASSIGN(const std::vector<text::Message> chat, messages(options));
  text::RenderOptions render_options{
      .thinking_mode = options.thinking_mode, .drop_thinking = !options.keep_thinking, .add_bos = !options.no_bos};
  if (!options.effort.empty()) render_options.reasoning_effort = options.effort;
  if (options.revision == "auto") {
    render_options.revision = revision_of(options.tokenizer);
  } else {
    HADAL_ASSIGN(render_options.revision, text::chat_revision_from(options.revision));
  }
  const auto prompt = text::render_chat(chat, render_options);
  if (!prompt) return tl::unexpected<Error>(prompt.error().to_error());
  if (!options.ids) {
    return write_standard_output(options.json ? text::to_json(text::JsonValue::of(prompt->text)) + "\n" : prompt->text);
  }
  if (!tokenizer) {
    return fail(ErrorCode::kInvalidArgument, "render: --ids needs --tokenizer FILE_OR_CHECKPOINT");
  }
  const auto mode = options.mode == "guarded" ? text::TextMode::kGuarded : text::TextMode::kOfficial;
  HADAL_ASSIGN(const std::vector<std::int32_t> ids, text::encode_prompt(*tokenizer, *prompt, mode));
  return write_standard_output(options.json ? fmt::format("[{}]\n", fmt::join(ids, ","))
                                            : fmt::format("{}\n", fmt::join(ids, " ")));
}

}  // namespace

void add_render(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command = app.add_subcommand("render", "Chat messages to the prompt that the model reads");
  command->add_option("--tokenizer", options->tokenizer,
                      "tokenizer.json, tokenizer.json.zst or a checkpoint directory; needed for ids");
  CLI::Option* const jsonl = command->add_flag(
      "--jsonl", options->jsonl, "Standard input has a JSON object a line: messages, options, revision, context");
  CLI::Option* const file =
      command->add_option("FILE", options->file, "JSON list of messages; without it and --user standard input is read");
  file->excludes(jsonl);
  command->add_option("--user", options->user, "A user message instead of a list; may be repeated")
      ->excludes(jsonl)
      ->excludes(file);
  command->add_option("--system", options->system, "A system message, put in front")->excludes(jsonl);
  command->add_option("--mode", options->mode, "official: markers in messages become tokens; guarded: they stay text")
      ->check(CLI::IsMember({"official", "guarded"}))
      ->capture_default_str();
  command->add_option("--revision", options->revision, "auto: as the checkpoint, or as each line says")
      ->check(CLI::IsMember({"auto", "2604", "0731", "any"}))
      ->capture_default_str();
  command->add_option("--thinking-mode", options->thinking_mode, "chat or thinking")
      ->excludes(jsonl)
      ->capture_default_str();
  command->add_option("--effort", options->effort, "Reasoning effort: low (0731 only), high or max")->excludes(jsonl);
  command->add_flag("--keep-thinking", options->keep_thinking, "Show the reasoning of earlier turns")->excludes(jsonl);
  command->add_flag("--no-bos", options->no_bos, "Do not begin with the token of a text's begin")->excludes(jsonl);
  command->add_flag("--ids", options->ids, "Print the token ids instead of the text")->excludes(jsonl);
  command->add_flag("--json", options->json, "Print as JSON")->excludes(jsonl);
  command->callback([options, &outcome] { outcome.status = render(*options); });
}

}  // namespace hadal::apps

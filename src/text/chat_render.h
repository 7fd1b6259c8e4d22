#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "base/result.h"
#include "text/chat_message.h"
#include "text/tokenizer.h"

namespace hadal::text {

/// Options of the official encoder. Modes and efforts are texts because unknown ones are errors of the request.
struct RenderOptions {
  ChatRevision revision = ChatRevision::k0731;
  std::string thinking_mode = "thinking";         // chat | thinking
  std::optional<std::string> reasoning_effort{};  // low (0731 only) | high | max
  bool drop_thinking = true;                      // leave out reasoning before the last user message
  bool add_bos = true;
};

/// A turn of the assistant in a prompt: what the model wrote, or would have written.
struct AnswerRange {
  ByteRange bytes{};           // behind the marker that opens the turn, up to its EOS, or the prompt's end
  int message = -1;            // index in `messages`
  bool has_reasoning = false;  // the message's reasoning is part of it
};

/// A prompt and where it came from.
struct RenderedPrompt {
  std::string text;
  /// Bytes of `text` that the caller wrote (contents, reasoning, tool results, names, arguments, schemas, response
  /// format): ascending, disjoint, not touching. For EncodeOptions::untrusted.
  std::vector<ByteRange> caller_ranges;
  std::vector<AnswerRange> answers{};  // in order; those that a marker opens, not those of a context
  /// The prompt ends inside the reasoning: what the model writes first is reasoning (ParserOptions::thinking).
  bool inside_reasoning = false;
};

enum class RenderProblem : std::uint8_t {
  kUnknownRole,
  kDeveloperWithoutContent,
  kUnknownTask,
  kUnknownThinkingMode,
  kUnknownEffort,
  kArgumentsNotAnObject,
  kInvalidArguments,     // JSON, but with a lone surrogate, ill-formed UTF-8, or beyond a limit of parse_json
  kInvalidTool,          // a tool without a `function` member
  kInvalidContent,       // a content list with a part that cannot be shown in this role
  kInvalidContinuation,  // continue_reasoning elsewhere than on a last assistant message in thinking mode
};

/// The problem's name in requests, replies and golden data ("unknown_role").
[[nodiscard]] std::string_view name(RenderProblem problem);

/// Why a chat cannot be rendered.
struct RenderError {
  RenderProblem problem{};
  int message = -1;         // index in `messages`; -1 for an option
  bool in_context = false;  // the index counts in `context`
  std::string field;        // "role", "tool_calls[2].function.arguments", "reasoning_effort", ...
  std::string sentence;     // for people

  /// As the project's error: kInvalidArgument with the sentence.
  [[nodiscard]] Error to_error() const { return {ErrorCode::kInvalidArgument, sentence}; }
};

/// The official V4 prompt of a chat. `context` are earlier messages that the cache already holds: they are taken into
/// account and not shown, and no BOS is written then. All problems are found before anything is returned; problems of
/// messages that are not shown are not looked for, as in the official code. Rules: docs/design/chat.md.
/// Source: official encoding/encoding_dsv4.py, revisions 2604 and 0731.
[[nodiscard]] tl::expected<RenderedPrompt, RenderError> render_chat(std::span<const Message> messages,
                                                                    const RenderOptions& options,
                                                                    std::span<const Message> context = {});

/// Revision of a checkpoint: 2604 when its encoding/encoding_dsv4.py lacks the name REASONING_EFFORT_PROMPTS, else
/// 0731, also without such a file. The file is read as text and never executed; the choice is logged (info).
[[nodiscard]] ChatRevision detect_chat_revision(const std::filesystem::path& checkpoint);

}  // namespace hadal::text

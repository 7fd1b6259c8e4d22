#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "text/chat_markup.h"

namespace hadal::text {

struct ParserOptions {
  bool thinking = true;        // the prompt ended inside the reasoning (RenderedPrompt::inside_reasoning)
  bool tools = true;           // false: call markup is ordinary text
  bool trim_newlines = false;  // drop newlines at the start of reasoning and content, before `</think>` and calls
  bool lenient_dsml = false;   // also accept `<｜｜DSML｜｜...` and `<DSML｜...`
  /// Markers count only where push() names them as tokens; the same characters in a piece are text. A marker that is
  /// part of no tag is dropped. Pieces must be well-formed UTF-8.
  bool marker_tokens = false;
};

enum class ChatEventKind : std::uint8_t { kReasoning, kContent, kCallBegin, kArguments, kCallEnd };

/// What became certain: a piece of text, of arguments, or the border of a call.
struct ChatEvent {
  ChatEventKind kind{};
  int call = -1;          // index of the call; -1 for texts
  std::string_view text;  // reasoning, content, arguments; kCallBegin: the function's name
};

enum class ChatWarning : std::uint8_t {
  kLeadingThink,
  kImplicitThinkEnd,
  kExtraThinkEnd,
  kUnclosedThink,
  kMissingBlockOpen,
  kDuplicateParameter,
  kMissingStringAttribute,
  kInvalidJsonValue,
  kMissingParameterEnd,
  kAutoClosedCall,
  kJunkInBlock,
  kTextAfterCalls,
  kTruncatedCall,
  kStrayMarker,  // with marker_tokens only
};

/// The warning's name in replies and golden data ("leading_think").
[[nodiscard]] std::string_view name(ChatWarning warning);

enum class StopReason : std::uint8_t { kStop, kLength };  // EOS or a stop string; the token limit
enum class FinishReason : std::uint8_t { kStop, kLength, kToolCalls };

struct ParsedCall {
  std::string name;
  std::string arguments{};  // JSON text; cut off when `complete` is false
  bool complete = false;

  [[nodiscard]] bool operator==(const ParsedCall& other) const = default;
};

/// The sum of all events.
struct ParsedMessage {
  std::string reasoning_content;
  std::string content;
  std::vector<ParsedCall> tool_calls;
  std::vector<ChatWarning> warnings;  // in order of occurrence
  FinishReason finish_reason = FinishReason::kStop;

  [[nodiscard]] bool operator==(const ParsedMessage& other) const = default;
};

/// Inverse of the chat encoding for the model's output: text in pieces of any cut -> reasoning, content, calls. Nothing
/// is held back that can no longer be part of a marker, and the result does not depend on the cut. Never fails; what
/// deviates from the format is repaired or kept as text, with a warning. States and rules: docs/design/chat.md.
/// One output each object; not for several threads at once. No allocation once the buffers have grown, except for the
/// message itself.
class ChatParser {
 public:
  static constexpr std::size_t kMaxTagBytes = 4096;                         // a longer tag is text
  static constexpr int kMaxCalls = 128;                                     // further invokes are skipped
  static constexpr std::size_t kMaxJsonValueBytes = std::size_t{16} << 20;  // of one value that is no string

  explicit ChatParser(ParserOptions options);

  /// Takes the next piece and the marker token behind it (kThink, kThinkEnd, kDsml; others are dropped), which needs
  /// `marker_tokens`. The events and their texts are valid until the next call.
  [[nodiscard]] std::span<const ChatEvent> push(std::string_view piece, std::string_view token = {});

  /// Ends the output; afterwards neither push nor finish may be called.
  [[nodiscard]] std::span<const ChatEvent> finish(StopReason reason);

  /// What comes next may still be reasoning.
  [[nodiscard]] bool inside_reasoning() const { return state_ == State::kReasoning; }

  /// All so far; complete after finish().
  [[nodiscard]] const ParsedMessage& message() const { return message_; }
  [[nodiscard]] ParsedMessage take_message() && { return std::move(message_); }

 private:
  enum class State : std::uint8_t { kReasoning, kContent, kName, kInvoke, kValue, kBlock, kDone };
  enum class ValueKind : std::uint8_t { kString, kJson, kUnmarked };
  struct Piece {  // an event whose text still grows
    ChatEventKind kind{};
    int call = -1;
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  // Each reads from the front of `rest` and returns false when more input is needed.
  bool step(std::string_view& rest);
  bool step_text(std::string_view& rest);
  bool step_name(std::string_view& rest);
  bool step_tags(std::string_view& rest);
  bool step_value(std::string_view& rest);
  bool step_done(std::string_view& rest);

  // Each acts on a tag at the front of `rest`: kNo is text, kWaits may still become one.
  markup::Match text_marker(std::string_view& rest);
  markup::Match invoke_tag(std::string_view& rest);
  markup::Match block_tag(std::string_view& rest);

  /// `text` without stand-ins of marker tokens; valid until the next call.
  [[nodiscard]] std::string_view shown(std::string_view text);
  void add_text(std::string_view text);
  void add_newlines(std::size_t count);
  void flush_newlines();
  void begin_call(std::string_view call_name);
  void begin_parameter(std::string_view key, ValueKind kind);
  void add_value(std::string_view text);
  void end_value();
  void close_call();
  void close_call_early();
  void abandon_call();

  void emit(ChatEventKind kind, std::string_view text);
  void emit_arguments(std::string_view json) { emit(ChatEventKind::kArguments, json); }
  /// Makes the tail of event_text_ from `begin` on part of an event and of the message.
  void publish(ChatEventKind kind, std::size_t begin);
  void warn(ChatWarning warning) { message_.warnings.push_back(warning); }
  void warn_junk();
  void begin_events();
  [[nodiscard]] std::span<const ChatEvent> events();

  ParserOptions options_;
  markup::Rules rules_;
  State state_;
  bool at_origin_ = true;      // no byte of the output is decided yet
  bool at_text_start_ = true;  // nothing of this reasoning or content is emitted yet
  bool after_calls_warned_ = false;
  std::size_t newlines_ = 0;  // held newlines that directly precede held_
  std::string held_;          // undecided bytes

  // The open call.
  bool has_parameter_ = false;
  bool ignore_value_ = false;  // a double key
  ValueKind value_kind_ = ValueKind::kString;
  std::string value_;                     // collected value that is no string
  std::unordered_set<std::string> keys_;  // of this call

  ParsedMessage message_;
  std::string event_text_;
  std::string shown_;
  std::vector<Piece> pieces_;
  std::vector<ChatEvent> events_;
};

}  // namespace hadal::text

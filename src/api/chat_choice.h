#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/answer.h"
#include "api/ids.h"
#include "api/piece.h"
#include "api/request.h"
#include "api/turn_name.h"
#include "api/visible_tokens.h"
#include "text/chat_parser.h"
#include "text/stop_strings.h"

namespace hadal::api {

enum class DeltaKind : std::uint8_t { kReasoning, kContent, kCallBegin, kArguments };

/// A piece of an answer as the client sees it.
struct Delta {
  DeltaKind kind = DeltaKind::kContent;
  int call = -1;
  std::string call_id{};               // kCallBegin
  std::string text{};                  // kCallBegin: the function's name
  std::vector<TokenLogprob> tokens{};  // whose text this is; with logprobs only
};

struct ChatChoiceOptions {
  bool inside_reasoning = true;  // RenderedPrompt::inside_reasoning
  bool tools = false;
  bool one_call = false;  // the answer ends where a second call begins
  ReasoningPlace reasoning = ReasoningPlace::kField;
  std::string before_reasoning{};  // of the turn that the answer continues
  std::string before_content{};
  std::vector<std::string> stops{};
  bool show_stop = false;     // the matched stop string belongs to the content
  bool show_special = false;  // special tokens that are no markers are text
  bool logprobs = false;
};

/// What a request asks of each choice.
[[nodiscard]] ChatChoiceOptions choice_options(const ChatRequest& request, bool inside_reasoning);

/// One choice of a chat: generated text -> reasoning, content and calls. The sum of its deltas does not depend on how
/// the text was cut.
class ChatChoice {
 public:
  /// `random` makes the ids of calls and must outlive this.
  ChatChoice(Family family, ChatChoiceOptions options, const RandomBits& random);

  /// The next token. The one that stopped generation is not pushed. The deltas are valid until the next call.
  [[nodiscard]] std::span<const Delta> push(const Piece& piece, const TokenLogprob& token = {});

  /// The answer is complete: the engine need not go on, and further pushes change nothing.
  [[nodiscard]] bool ended() const { return ended_; }

  /// Ends the choice; `tail`: PieceReader::finish(). Not called twice.
  [[nodiscard]] std::span<const Delta> finish(Ending ending, std::string_view tail = {});

  /// After finish(); nothing when the answer must end with an error.
  [[nodiscard]] std::optional<std::string_view> reason() const { return reason_; }
  /// After finish(): the turn as the client has it, with what the client wrote of it. Nothing when sending it back
  /// cannot mean the tokens that were pushed: it was cut, repaired, or given in another form.
  [[nodiscard]] std::optional<TurnName> turn() const;
  /// The next token counts as reasoning.
  [[nodiscard]] bool inside_reasoning() const { return parser_.inside_reasoning(); }
  /// Of the tokens pushed so far.
  [[nodiscard]] std::int64_t reasoning_tokens() const { return reasoning_tokens_; }

 private:
  void take(std::span<const text::ChatEvent> events);
  void add_reasoning(std::string_view text);
  void add_content(std::string_view text);
  void begin_call(std::string_view name);
  void show(DeltaKind kind, std::string_view text);
  void emit(DeltaKind kind, VisibleTokens::Run run);
  void close_thinking();
  void flush();

  Family family_;
  ChatChoiceOptions options_;
  const RandomBits& random_;
  text::ChatParser parser_;
  text::StopStrings stops_;
  VisibleTokens tokens_;
  std::vector<Delta> deltas_;
  DeltaKind shown_ = DeltaKind::kContent;  // kind of the text whose tokens are incomplete
  bool thinking_open_ = false;             // <think> stands in the content
  bool ended_ = false;
  bool stopped_ = false;   // by a stop string
  bool dropped_ = false;   // a special token that is no marker came
  bool complete_ = false;  // all that was pushed is part of the message
  std::vector<std::string> call_ids_;
  std::int64_t reasoning_tokens_ = 0;
  std::optional<std::string_view> reason_{};
};

}  // namespace hadal::api

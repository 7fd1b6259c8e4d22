#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/stop_strings.h"
#include "text/tokenizer.h"

namespace hadal::engine {

/// Text of an answer as its tokens come: whole characters, and nothing that may still become a stop string. Without a
/// tokenizer there is no text.
class AnswerText {
 public:
  /// `tokenizer` may be null and must outlive this. Errors: kInvalidArgument (stop strings without a tokenizer, an
  /// empty one, one that is not UTF-8).
  [[nodiscard]] static Result<AnswerText> create(const text::Tokenizer* tokenizer, std::vector<std::string> stops);

  /// Takes the next token; piece() is then what became certain. True when a stop string is complete. Errors:
  /// kInvalidArgument (the tokenizer has no such id).
  [[nodiscard]] Result<bool> push(std::int64_t token);
  /// The answer ended without a stop string: piece() is then all that was held back.
  void finish();
  [[nodiscard]] std::string_view piece() const { return piece_; }

 private:
  AnswerText(const text::Tokenizer* tokenizer, std::vector<std::string> stops);

  std::optional<text::DetokenizingStream> stream_;
  text::StopStrings stops_;
  std::string decoded_;
  std::string piece_;
};

}  // namespace hadal::engine

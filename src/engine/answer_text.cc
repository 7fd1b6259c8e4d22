#include "engine/answer_text.h"

#include <fmt/format.h>

#include "text/utf8.h"

namespace hadal::engine {

AnswerText::AnswerText(const text::Tokenizer* tokenizer, std::vector<std::string> stops) : stops_(std::move(stops)) {
  if (tokenizer == nullptr) return;
  stream_.emplace(*tokenizer, text::DecodeOptions{.skip_special = true});
  constexpr std::size_t kLongToken = 512;  // bytes; so that no token allocates
  decoded_.reserve(kLongToken);
  piece_.reserve(kLongToken);
}

Result<AnswerText> AnswerText::create(const text::Tokenizer* tokenizer, std::vector<std::string> stops) {
  if (!stops.empty() && tokenizer == nullptr) {
    return fail(ErrorCode::kInvalidArgument,
                "stop strings need a tokenizer, and this checkpoint has none; stop at token ids instead");
  }
  for (const std::string& stop : stops) {
    if (stop.empty()) return fail(ErrorCode::kInvalidArgument, "a stop string is empty; it would end every answer");
    if (text::find_ill_formed(stop)) {
      return fail(ErrorCode::kInvalidArgument, "a stop string is not well-formed UTF-8, so no answer can contain it");
    }
  }
  return AnswerText(tokenizer, std::move(stops));
}

Result<bool> AnswerText::push(std::int64_t token) {
  piece_.clear();
  if (!stream_) return false;
  decoded_.clear();
  HADAL_TRY(stream_->push(static_cast<std::int32_t>(token), decoded_));
  return stops_.push(decoded_, piece_);
}

void AnswerText::finish() {
  piece_.clear();
  if (!stream_) return;
  decoded_.clear();
  stream_->finish(decoded_);
  // The last characters can still complete a stop string; what follows it is no part of the answer then.
  if (!stops_.push(decoded_, piece_)) stops_.finish(piece_);
}

}  // namespace hadal::engine

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/choice.h"
#include "text/tokenizer.h"

namespace hadal::engine {

/// Running text that facts are put into: the tokens of texts, one after the other.
struct RecallText {
  std::vector<std::int64_t> tokens;
  std::vector<std::size_t> paragraphs;  // ascending: where one begins

  /// Adds a text, paragraph by paragraph (they are separated by an empty line). Error: that of Tokenizer::encode.
  [[nodiscard]] Status add(const text::Tokenizer& tokenizer, std::string_view text);
};

/// What a fact is about.
enum class FactKind : std::uint8_t {
  kPlace,   // a person lives in a place
  kOwner,   // a thing belongs to a person
  kNumber,  // the number of a word: nothing but the text says it
};
inline constexpr std::int64_t kFactKinds = 3;
/// "place", "owner", "number".
[[nodiscard]] std::string_view name(FactKind kind);

struct RecallOptions {
  std::int64_t distance = 1000;  // tokens between the end of the fact and the question
  std::int64_t questions = 60;   // the kinds in turn
  std::int64_t candidates = 8;   // answers to choose from: 2 to 16
  std::uint64_t seed = 0;
};

/// A fact in a text, and the same sentence again without its end at a distance:
///   bos, text, fact sentence, `distance` tokens of text, beginning of the sentence -> candidates.
struct RecallQuestion {
  FactKind kind = FactKind::kPlace;
  ChoiceQuestion sentence;  // context: the beginning of the sentence; choices: its ends
  ChoiceTokens tokens;      // with everything before it
  std::int64_t filler = 0;  // index of its first token in RecallText::tokens
};

/// Questions that are a function of seed, distance, text and tokenizer alone. The text around a fact begins with a
/// paragraph and contains neither what the fact is about nor any candidate; the answer is each candidate with equal
/// probability, so that without recall the likeliest one is right in 1 / candidates of all cases, whatever a model
/// thinks of the words. Errors: kInvalidArgument (options; a text that is shorter than the distance, or that has no
/// place without the words), those of the tokenizer.
[[nodiscard]] Result<std::vector<RecallQuestion>> make_recall_questions(const text::Tokenizer& tokenizer,
                                                                        std::int64_t bos, const RecallText& text,
                                                                        const RecallOptions& options);

}  // namespace hadal::engine

#include "engine/recall.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>

#include "base/philox.h"
#include "base/units.h"

namespace hadal::engine {
namespace {

using Words = std::span<const std::string_view>;

constexpr std::string_view kPeople[] = {
    "Alice",  "Arthur", "Bella", "Bertha", "Cecil",  "Clara",  "Daniel", "David",  "Dora",   "Edward", "Edith", "Emma",
    "Fanny",  "Felix",  "Frank", "George", "Grace",  "Hannah", "Henry",  "Hugo",   "Ida",    "Jacob",  "James", "Julia",
    "Kate",   "Laura",  "Leo",   "Lucy",   "Martha", "Max",    "Nora",   "Oliver", "Oscar",  "Peter",  "Polly", "Ralph",
    "Robert", "Rose",   "Ruth",  "Sarah",  "Simon",  "Sophie", "Susan",  "Thomas", "Victor", "Walter"};
constexpr std::string_view kPlaces[] = {
    "London", "Paris",  "Rome",    "Berlin", "Vienna",   "Madrid",  "Moscow",  "Boston", "Chicago", "Dublin", "Venice",
    "Athens", "Oxford", "Egypt",   "India",  "China",    "Japan",   "Mexico",  "Canada", "Africa",  "Norway", "Sweden",
    "Russia", "Spain",  "Holland", "Greece", "Scotland", "Ireland", "Germany", "Italy",  "Denmark", "Poland"};
constexpr std::string_view kThings[] = {"drum",  "kite",   "ladder", "lamp",   "violin", "wagon", "saddle",
                                        "sword", "whip",   "clock",  "canoe",  "tent",   "spade", "anchor",
                                        "flute", "rocket", "piano",  "basket", "hammer", "sledge"};
constexpr std::string_view kKeys[] = {"camel",  "beetle", "dolphin", "pepper", "cactus",  "falcon",
                                      "comet",  "walnut", "buffalo", "zebra",  "lantern", "magnet",
                                      "violet", "turnip", "parrot",  "glacier"};
constexpr std::int64_t kMostCandidates = 16;
constexpr std::size_t kLead = 64;  // most tokens of text before the fact
constexpr int kTries = 64;         // places in the text

/// Random numbers of one question.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t question, std::uint64_t distance)
      : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
        question_(static_cast<std::uint32_t>(question)),
        distance_(static_cast<std::uint32_t>(distance)) {}

  /// Uniform in [0, count), count below 2^32.
  std::size_t below(std::size_t count) {
    return static_cast<std::size_t>((std::uint64_t{philox({next_++, question_, distance_, 0}, key_)[0]} * count) >> 32);
  }

 private:
  std::array<std::uint32_t, 2> key_;
  std::uint32_t question_;
  std::uint32_t distance_;
  std::uint32_t next_ = 0;
};

std::vector<std::string> absent(Words words, std::string_view text) {
  std::vector<std::string> found;
  for (const std::string_view word : words) {
    if (text.find(word) == std::string_view::npos) found.emplace_back(word);
  }
  return found;
}

/// Moves `count` of the words to the front, in random order, and drops the rest. False: there are too few.
bool draw(std::vector<std::string>& words, std::size_t count, Random& random) {
  if (words.size() < count) return false;
  for (std::size_t i = 0; i < count; ++i) std::swap(words[i], words[i + random.below(words.size() - i)]);
  words.resize(count);
  return true;
}

std::vector<std::string> absent_numbers(std::string_view text, std::size_t count, Random& random) {
  std::vector<std::string> numbers;
  for (int tries = 0; tries < 1000 && numbers.size() < count; ++tries) {
    std::string number = fmt::format("{}", 1000 + random.below(9000));
    const bool taken = text.find(number) != std::string_view::npos;
    if (!taken && std::find(numbers.begin(), numbers.end(), number) == numbers.end()) numbers.push_back(number);
  }
  return numbers;
}

/// Subject and candidates of a fact, none of which occurs in `text`; nothing when the text has too many of the words.
std::optional<ChoiceQuestion> make_sentence(FactKind kind, std::string_view text, std::size_t candidates,
                                            Random& random) {
  std::vector<std::string> subject;
  std::vector<std::string> ends;
  std::string_view pattern;
  switch (kind) {
    case FactKind::kPlace:
      subject = absent(kPeople, text);
      ends = absent(kPlaces, text);
      pattern = "{} lives in";
      break;
    case FactKind::kOwner:
      subject = absent(kThings, text);
      ends = absent(kPeople, text);
      pattern = "The {} belongs to";
      break;
    case FactKind::kNumber:
      subject = absent(kKeys, text);
      ends = absent_numbers(text, candidates, random);
      pattern = "The secret number of the {} is";
      break;
  }
  if (!draw(subject, 1, random) || !draw(ends, candidates, random)) return std::nullopt;
  ChoiceQuestion sentence{.context = "\n\n" + fmt::format(fmt::runtime(pattern), subject.front()),
                          .choices = {},
                          .answer = random.below(candidates)};
  for (const std::string& end : ends) sentence.choices.push_back(" " + end);
  return sentence;
}

/// Stretch [begin, end) of the text's tokens as bytes.
std::string bytes_of(const text::Tokenizer& tokenizer, std::span<const std::int64_t> tokens) {
  std::string bytes;
  for (const std::int64_t token : tokens) bytes += tokenizer.token_bytes(static_cast<std::int32_t>(token));
  return bytes;
}

Status append(const text::Tokenizer& tokenizer, std::string_view text, std::vector<std::int64_t>& tokens) {
  HADAL_ASSIGN(const auto ids, tokenizer.encode(text, {.added_tokens = text::AddedTokens::kOff}));
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  return {};
}

/// Makes questions of one distance.
class Maker {
 public:
  Maker(const text::Tokenizer& tokenizer, std::int64_t bos, const RecallText& text, const RecallOptions& options,
        std::size_t places)
      : tokenizer_(tokenizer), bos_(bos), text_(text), options_(options), places_(places) {}

  Result<RecallQuestion> make(std::int64_t number) {
    Random random(options_.seed, static_cast<std::uint64_t>(number), static_cast<std::uint64_t>(options_.distance));
    const auto kind = static_cast<FactKind>(number % kFactKinds);
    const auto distance = static_cast<std::size_t>(options_.distance);
    const std::span<const std::int64_t> all(text_.tokens);
    for (int tries = 0; tries < kTries; ++tries) {
      const std::size_t begin = text_.paragraphs[random.below(places_)];
      const std::size_t lead = std::min(kLead, begin);
      const std::string around = bytes_of(tokenizer_, all.subspan(begin - lead, lead + distance));
      auto sentence = make_sentence(kind, around, static_cast<std::size_t>(options_.candidates), random);
      if (!sentence) continue;
      return assemble(kind, std::move(*sentence), all.subspan(begin - lead, lead), all.subspan(begin, distance));
    }
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("at a distance of {} tokens the text has no place that lacks {} of the words to ask for; "
                            "take another text or fewer --candidates",
                            with_separators(options_.distance), options_.candidates));
  }

 private:
  Result<RecallQuestion> assemble(FactKind kind, ChoiceQuestion sentence, std::span<const std::int64_t> lead,
                                  std::span<const std::int64_t> filler) {
    std::vector<std::int64_t> before{bos_};
    before.insert(before.end(), lead.begin(), lead.end());
    HADAL_TRY(append(tokenizer_, sentence.context + sentence.choices[sentence.answer] + ".\n\n", before));
    before.insert(before.end(), filler.begin(), filler.end());
    RecallQuestion question{.kind = kind, .sentence = std::move(sentence), .tokens = {}, .filler = 0};
    question.filler = filler.data() - text_.tokens.data();
    HADAL_ASSIGN(question.tokens, choice_tokens(tokenizer_, before, question.sentence));
    return question;
  }

  const text::Tokenizer& tokenizer_;
  std::int64_t bos_;
  const RecallText& text_;
  const RecallOptions& options_;
  std::size_t places_;  // the first so many paragraphs have the distance behind them
};

}  // namespace

std::string_view name(FactKind kind) {
  constexpr std::array<std::string_view, kFactKinds> kNames = {"place", "owner", "number"};
  return kNames[static_cast<std::size_t>(kind)];
}

Status RecallText::add(const text::Tokenizer& tokenizer, std::string_view text) {
  while (!text.empty()) {
    std::size_t end = text.find("\n\n");
    end = end == std::string_view::npos ? text.size() : text.find_first_not_of('\n', end);
    end = std::min(end, text.size());
    paragraphs.push_back(tokens.size());
    HADAL_TRY(append(tokenizer, text.substr(0, end), tokens));
    text.remove_prefix(end);
  }
  // The last paragraph of a text must not run into the next one.
  return append(tokenizer, "\n\n", tokens);
}

Result<std::vector<RecallQuestion>> make_recall_questions(const text::Tokenizer& tokenizer, std::int64_t bos,
                                                          const RecallText& text, const RecallOptions& options) {
  if (options.candidates < 2 || options.candidates > kMostCandidates || options.distance < 1 || options.questions < 1) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{} questions of {} candidates at a distance of {} tokens are not possible; there can be 2 "
                            "to {} candidates",
                            options.questions, options.candidates, options.distance, kMostCandidates));
  }
  const std::int64_t last = std::ssize(text.tokens) - options.distance;
  const auto places = std::count_if(text.paragraphs.begin(), text.paragraphs.end(),
                                    [&](std::size_t begin) { return static_cast<std::int64_t>(begin) <= last; });
  if (places == 0) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a distance of {} tokens needs a longer text than one of {} tokens",
                            with_separators(options.distance), with_separators(std::ssize(text.tokens))));
  }
  Maker maker(tokenizer, bos, text, options, static_cast<std::size_t>(places));
  std::vector<RecallQuestion> questions;
  for (std::int64_t number = 0; number < options.questions; ++number) {
    HADAL_ASSIGN(questions.emplace_back(), maker.make(number));
  }
  return questions;
}

}  // namespace hadal::engine

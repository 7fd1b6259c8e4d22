#include "text/chat_markup.h"

#include <algorithm>
#include <array>
#include <span>

#include "text/chat_markers.h"

namespace hadal::text::markup {
namespace {

constexpr std::array<std::string_view, 3> kMarkers{marker::kDsml, "｜｜DSML｜｜", "DSML｜"};

/// The marker's spellings that count under the rules.
std::span<const std::string_view> markers(const Rules& rules) {
  if (rules.tokens) return std::span(&kDsmlToken, 1);
  return std::span(kMarkers).first(rules.lenient ? kMarkers.size() : 1);
}

/// Reads a tag piece by piece; remembers the first piece that fails or runs into the end.
class Scanner {
 public:
  Scanner(std::string_view text, const Rules& rules) : text_(text), rules_(rules) {}

  Scanner& word(std::string_view expected) {
    if (state_ == Match::kYes) take(literal(rest(), expected));
    return *this;
  }

  Scanner& dsml() {
    if (state_ != Match::kYes) return *this;
    Tag best;
    for (const std::string_view spelling : markers(rules_)) {
      const Tag tag = literal(rest(), spelling);
      if (tag.match > best.match) best = tag;
    }
    take(best);
    return *this;
  }

  /// At least `minimum` (0 or 1) characters of white space.
  Scanner& space(int minimum) {
    if (state_ != Match::kYes) return *this;
    for (int count = 0;; ++count) {
      const Tag tag = white_space(rest());
      if (tag.match == Match::kNo) {
        // At the very end more white space, or what follows it, may still come.
        if (rest().empty()) {
          state_ = Match::kWaits;
        } else if (count < minimum) {
          state_ = Match::kNo;
        }
        return *this;
      }
      take(tag);
      if (state_ != Match::kYes) return *this;
    }
  }

  /// Everything up to the next `"`, and that quote.
  Scanner& quoted(std::string_view& value) {
    if (state_ != Match::kYes) return *this;
    const std::size_t end = rest().find('"');
    if (end == std::string_view::npos) {
      state_ = Match::kWaits;
      return *this;
    }
    value = rest().substr(0, end);
    at_ += end + 1;
    return *this;
  }

  [[nodiscard]] std::string_view rest() const { return text_.substr(at_); }
  [[nodiscard]] bool matched() const { return state_ == Match::kYes; }

  /// The verdict, with the size limit applied so that it does not depend on how much has arrived.
  [[nodiscard]] Tag tag() const {
    if (state_ == Match::kNo) return {};
    if (state_ == Match::kWaits) return {text_.size() > rules_.max_bytes ? Match::kNo : Match::kWaits, 0};
    return at_ > rules_.max_bytes ? Tag{} : Tag{Match::kYes, at_};
  }

 private:
  void take(const Tag& tag) {
    state_ = tag.match;
    if (tag.match == Match::kYes) at_ += tag.size;
  }

  std::string_view text_;
  const Rules& rules_;
  std::size_t at_ = 0;
  Match state_ = Match::kYes;
};

}  // namespace

Tag literal(std::string_view text, std::string_view tag) {
  if (text.size() >= tag.size()) return text.starts_with(tag) ? Tag{Match::kYes, tag.size()} : Tag{};
  return tag.starts_with(text) ? Tag{Match::kWaits, 0} : Tag{};
}

Tag white_space(std::string_view text) {
  if (text.empty()) return {};
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto verdict = [&](bool yes, std::size_t size) { return yes ? Tag{Match::kYes, size} : Tag{}; };
  const unsigned lead = byte(0);
  if (lead < 0x80) return verdict(lead == ' ' || (lead >= '\t' && lead <= '\r'), 1);
  // U+0085, 00A0, 1680, 2000-200A, 2028, 2029, 202F, 205F, 3000
  if (lead != 0xC2 && (lead < 0xE1 || lead > 0xE3)) return {};
  if (text.size() == 1) return {Match::kWaits, 0};
  const unsigned second = byte(1);
  if (lead == 0xC2) return verdict(second == 0x85 || second == 0xA0, 2);
  const bool possible = (lead == 0xE1 && second == 0x9A) || (lead == 0xE2 && (second == 0x80 || second == 0x81)) ||
                        (lead == 0xE3 && second == 0x80);
  if (!possible) return {};
  if (text.size() == 2) return {Match::kWaits, 0};
  const unsigned third = byte(2);
  if (lead != 0xE2) return verdict(third == 0x80, 3);
  if (second == 0x81) return verdict(third == 0x9F, 3);
  return verdict((third >= 0x80 && third <= 0x8A) || third == 0xA8 || third == 0xA9 || third == 0xAF, 3);
}

Tag closing(std::string_view text, std::string_view word, const Rules& rules) {
  return Scanner(text, rules).word("</").dsml().word(word).space(0).word(">").tag();
}

Tag invoke(std::string_view text, const Rules& rules) {
  return Scanner(text, rules).word("<").dsml().word("invoke").space(1).word("name=\"").tag();
}

ParameterTag parameter(std::string_view text, const Rules& rules) {
  struct Ending {
    std::string_view attribute;
    bool has_kind;
    bool is_string;
  };
  constexpr std::array<Ending, 3> kEndings{
      {{"", false, false}, {"string=\"true\"", true, true}, {"string=\"false\"", true, false}}};
  ParameterTag result;
  Scanner head(text, rules);
  head.word("<").dsml().word("parameter").space(1).word("name=\"").quoted(result.key);
  if (!head.matched()) {
    result.match = head.tag().match;
    return result;
  }
  for (const Ending& ending : kEndings) {
    Scanner scanner = head;
    if (ending.has_kind) scanner.space(1).word(ending.attribute);
    const Tag tag = scanner.space(0).word(">").tag();
    if (tag.match <= result.match) continue;
    result.match = tag.match;
    result.size = tag.size;
    result.has_kind = ending.has_kind;
    result.is_string = ending.is_string;
  }
  return result;
}

BlockOpening block_opening(std::string_view text, const Rules& rules) {
  BlockOpening result;
  const auto finish = [&result](const Tag& tag) {
    result.match = tag.match;
    result.size = tag.size;
  };
  if (const Tag bare = invoke(text, rules); bare.match == Match::kYes) {
    finish(bare);
    result.bare = true;
    return result;
  } else if (bare.match == Match::kWaits) {
    result.match = Match::kWaits;
  }
  Scanner head(text, rules);
  head.word("<").dsml().word("tool_calls").space(0).word(">").space(0);
  if (!head.matched()) {
    if (head.tag().match == Match::kWaits) result.match = Match::kWaits;
    return result;
  }
  Scanner with_invoke = head;
  with_invoke.word("<").dsml().word("invoke").space(1).word("name=\"");
  Scanner with_end = head;
  with_end.word("</").dsml().word("tool_calls").space(0).word(">");
  result.empty = with_end.tag().match > with_invoke.tag().match;
  finish(result.empty ? with_end.tag() : with_invoke.tag());
  return result;
}

bool has_closing_marker(std::string_view text, const Rules& rules) {
  return std::ranges::any_of(markers(rules), [&](std::string_view spelling) {
    for (std::size_t at = text.find("</"); at != std::string_view::npos; at = text.find("</", at + 2)) {
      if (text.substr(at + 2).starts_with(spelling)) return true;
    }
    return false;
  });
}

}  // namespace hadal::text::markup

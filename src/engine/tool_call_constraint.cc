#include "engine/tool_call_constraint.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"

namespace hadal::engine {
namespace {

constexpr char kMark = '\xFF';  // stands for the mark in the texts below; no ordinary text has this byte
constexpr std::size_t kMostKeyBytes = 64;

}  // namespace

std::string_view ToolCallState::text(Literal literal) {
  static constexpr std::array<std::string_view, 9> kTexts = {
      "\n\n<\xFFtool_calls>\n<\xFFinvoke name=\"",
      "tool_calls>\n<\xFFinvoke name=\"",
      ">\n",
      "parameter name=\"",
      " string=\"",
      "parameter>\n",
      "invoke>\n",
      "invoke name=\"",
      "tool_calls>",
  };
  return kTexts[static_cast<std::size_t>(literal)];
}

bool ToolCallState::advance(const ToolCallRules& rules, std::uint8_t unit) {
  const char byte = static_cast<char>(unit);
  switch (mode_) {
    case Mode::kText:
      position_ = byte == '<' ? 1 : 0;
      return true;
    case Mode::kLiteral:
      return byte != kMark && literal(byte);
    case Mode::kName:
      return function_name(rules, byte);
    case Mode::kCall:
      if (byte == '\n' && no_parameter_yet_ && !empty_line_) {
        empty_line_ = true;
        return true;
      }
      return byte == '<' && enter(Mode::kCallTag);
    case Mode::kCallTag:
      return byte == '/' && enter(Mode::kCallSlash);
    case Mode::kKey:
      return key(byte);
    case Mode::kKind:
      return kind(byte);
    case Mode::kValue:
      return value(byte);
    case Mode::kBetween:
      return byte == '<' && enter(Mode::kBetweenTag);
    case Mode::kBetweenTag:
      return byte == '/' && enter(Mode::kBetweenSlash);
    case Mode::kCallSlash:
    case Mode::kBetweenSlash:
    case Mode::kEnd:
      return false;
  }
  return false;
}

bool ToolCallState::advance_mark(const ToolCallRules& rules) {
  switch (mode_) {
    case Mode::kText:
      if (position_ != 1) return false;
      enter(Literal::kBlockRest);
      return true;
    case Mode::kLiteral:
      return literal(kMark);
    case Mode::kCallTag:
      if (empty_line_) return false;
      no_parameter_yet_ = false;
      enter(Literal::kParameter);
      return true;
    case Mode::kCallSlash:
      enter(Literal::kCallEnd);
      return true;
    case Mode::kValue:
      if (position_ != 2) return false;
      enter(Literal::kParameterEnd);
      return true;
    case Mode::kBetweenTag:
      if (calls_ >= rules.most_calls) return false;
      enter(Literal::kNextCall);
      return true;
    case Mode::kBetweenSlash:
      enter(Literal::kBlockEnd);
      return true;
    default:
      return false;
  }
}

bool ToolCallState::literal(char byte) {
  const std::string_view whole = text(literal_);
  if (whole[position_] != byte) return false;
  if (++position_ == whole.size()) leave_literal();
  return true;
}

void ToolCallState::leave_literal() {
  switch (literal_) {
    case Literal::kBlock:
    case Literal::kBlockRest:
    case Literal::kNextCall:
      first_ = 0;
      ++calls_;
      enter(Mode::kName);
      break;
    case Literal::kNameEnd:
      no_parameter_yet_ = true;
      empty_line_ = false;
      enter(Mode::kCall);
      break;
    case Literal::kParameter:
      enter(Mode::kKey);
      break;
    case Literal::kKeyEnd:
      enter(Mode::kKind);
      break;
    case Literal::kParameterEnd:
      enter(Mode::kCall);
      break;
    case Literal::kCallEnd:
      enter(Mode::kBetween);
      break;
    case Literal::kBlockEnd:
      enter(Mode::kEnd);
      break;
  }
}

bool ToolCallState::function_name(const ToolCallRules& rules, char byte) {
  const std::string& known = rules.names[first_];
  if (byte == '"') {
    // Of the names that begin so the first in order is the shortest.
    if (known.size() != position_) return false;
    enter(Literal::kNameEnd);
    return true;
  }
  for (std::size_t i = first_; i < rules.names.size(); ++i) {
    const std::string& name = rules.names[i];
    if (name.compare(0, position_, known, 0, position_) != 0) return false;
    if (name.size() > position_ && name[position_] == byte) {
      first_ = static_cast<std::uint16_t>(i);
      ++position_;
      return true;
    }
  }
  return false;
}

bool ToolCallState::key(char byte) {
  if (byte == '"') {
    if (position_ == 0) return false;
    enter(Literal::kKeyEnd);
    return true;
  }
  const auto unit = static_cast<std::uint8_t>(byte);
  const bool fits = unit >= 0x20 && unit < 0x7F && byte != '<' && byte != '>' && position_ < kMostKeyBytes;
  if (fits) ++position_;
  return fits;
}

bool ToolCallState::kind(char byte) {
  constexpr std::string_view kTrue = "true\">";
  constexpr std::string_view kFalse = "false\">";
  // The first letter decides; from then on the place counts through both words.
  if (position_ == 0) {
    if (byte != 't' && byte != 'f') return false;
    position_ = byte == 't' ? 1 : static_cast<std::uint16_t>(1 + kTrue.size());
    return true;
  }
  const bool is_true = position_ <= kTrue.size();
  const std::string_view word = is_true ? kTrue : kFalse;
  const std::size_t at = is_true ? position_ : position_ - kTrue.size();
  if (word[at] != byte) return false;
  ++position_;
  return at + 1 < word.size() || enter(Mode::kValue);
}

bool ToolCallState::value(char byte) {
  if (byte == '<') {
    position_ = 1;
  } else {
    position_ = byte == '/' && position_ == 1 ? 2 : 0;
  }
  return true;
}

ToolCallConstraint::ToolCallConstraint(std::shared_ptr<const SortedTokens> tokens, ToolCallRules rules)
    : tokens_(std::move(tokens)), rules_(std::move(rules)) {
  HADAL_CHECK(!rules_.names.empty(), "a call needs a function");
  std::sort(rules_.names.begin(), rules_.names.end());
  if (rules_.required) state_.require();
}

void ToolCallConstraint::fill(std::span<std::uint64_t> mask) const {
  ToolCallState next = state_;
  const bool mark = next.advance_mark(rules_);
  if (state_.in_text()) {
    std::fill(mask.begin(), mask.end(), ~std::uint64_t{0});
  } else {
    tokens_->allow(
        state_, [this](ToolCallState& state, std::uint8_t byte) { return state.advance(rules_, byte); }, mask);
  }
  auto& word = mask[static_cast<std::size_t>(rules_.mark) / 64];
  const std::uint64_t bit = std::uint64_t{1} << (rules_.mark % 64);
  word = mark ? word | bit : word & ~bit;
}

void ToolCallConstraint::limit(ChoiceLimits& limits) {
  limits.allowed = masks_.get(state_, tokens_->vocab_size(), [this](std::span<std::uint64_t> mask) { fill(mask); });
}

bool ToolCallConstraint::push(std::int64_t token) {
  if (token == rules_.mark) return state_.advance_mark(rules_);
  if (tokens_->is_added(token)) return state_.in_text();
  const std::string_view bytes = tokens_->bytes(token);
  return !bytes.empty() && std::all_of(bytes.begin(), bytes.end(), [this](char byte) {
    return state_.advance(rules_, static_cast<std::uint8_t>(byte));
  });
}

}  // namespace hadal::engine

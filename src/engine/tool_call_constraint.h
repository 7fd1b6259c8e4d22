#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/answer_constraint.h"
#include "engine/sorted_tokens.h"

namespace hadal::engine {

/// Which calls an answer may hold.
struct ToolCallRules {
  std::int64_t mark = -1;            // the token that stands in every tag: ｜DSML｜
  std::vector<std::string> names{};  // that may be called, each of [A-Za-z0-9_-]+; at least one
  bool required = false;             // the answer is a block of calls and nothing else
  std::int64_t most_calls = 128;
};

/// How far an answer has come in the form of tool calls (spec of the chat encoding, section 4.1): free text, then at
/// most one block. Of a block the tags and the names are held to their form; values are free up to the mark that ends
/// them.
class ToolCallState {
 public:
  /// Takes the next byte of an ordinary token. False: it cannot stand here; the state is of no use then.
  [[nodiscard]] bool advance(const ToolCallRules& rules, std::uint8_t byte);
  /// Takes the mark.
  [[nodiscard]] bool advance_mark(const ToolCallRules& rules);
  /// Begins an answer that must be a block.
  void require() { enter(Literal::kBlock); }
  /// The block is closed: nothing may follow.
  [[nodiscard]] bool complete() const { return mode_ == Mode::kEnd; }
  /// Outside a block: anything may follow but the mark.
  [[nodiscard]] bool in_text() const { return mode_ == Mode::kText; }

  [[nodiscard]] friend bool operator==(const ToolCallState&, const ToolCallState&) = default;

 private:
  enum class Mode : std::uint8_t {
    kText,
    kLiteral,    // inside a fixed text
    kName,       // of a function
    kCall,       // between parameters: a tag begins
    kCallTag,    // behind its '<'
    kCallSlash,  // behind its "</"
    kKey,        // of a parameter
    kKind,       // true or false
    kValue,      // of a parameter
    kBetween,    // behind a call: a tag begins
    kBetweenTag,
    kBetweenSlash,
    kEnd,
  };
  enum class Literal : std::uint8_t {
    kBlock,      // to the name of the first function, from the beginning of the answer
    kBlockRest,  // the same from the mark on
    kNameEnd,
    kParameter,
    kKeyEnd,
    kParameterEnd,
    kCallEnd,
    kNextCall,
    kBlockEnd,
  };

  [[nodiscard]] static std::string_view text(Literal literal);
  [[nodiscard]] bool literal(char byte);
  void leave_literal();
  [[nodiscard]] bool function_name(const ToolCallRules& rules, char byte);
  [[nodiscard]] bool key(char byte);
  [[nodiscard]] bool kind(char byte);
  [[nodiscard]] bool value(char byte);
  void enter(Literal literal) {
    mode_ = Mode::kLiteral;
    literal_ = literal;
    position_ = 0;
  }
  bool enter(Mode mode) {
    mode_ = mode;
    position_ = 0;
    return true;
  }

  Mode mode_ = Mode::kText;
  Literal literal_ = Literal::kBlock;
  std::uint16_t position_ = 0;  // bytes of a literal, a name, a key; in a text or value: of "</" that stand at its end
  std::uint16_t first_ = 0;     // of the sorted names the first that begins with what came
  std::uint16_t calls_ = 0;
  bool no_parameter_yet_ = true;
  bool empty_line_ = false;  // stands in place of parameters
};

/// Holds an answer to tool calls in their form.
class ToolCallConstraint final : public AnswerConstraint {
 public:
  ToolCallConstraint(std::shared_ptr<const SortedTokens> tokens, ToolCallRules rules);

  [[nodiscard]] std::unique_ptr<AnswerConstraint> clone() const override {
    return std::make_unique<ToolCallConstraint>(*this);
  }
  [[nodiscard]] std::int64_t vocab_size() const override { return tokens_->vocab_size(); }
  [[nodiscard]] bool complete() const override { return state_.complete(); }
  void limit(ChoiceLimits& limits) override;
  [[nodiscard]] bool push(std::int64_t token) override;

 private:
  void fill(std::span<std::uint64_t> mask) const;

  std::shared_ptr<const SortedTokens> tokens_;
  ToolCallRules rules_;  // names sorted
  ToolCallState state_;
  MaskCache<ToolCallState> masks_;
};

}  // namespace hadal::engine

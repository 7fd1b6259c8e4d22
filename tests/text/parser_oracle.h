#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "text/chat_parser.h"

namespace hadal::text {

/// A second reading of the parser's rules, for tests: whole texts and regular expressions, no streaming. What a text
/// "may still become" is PCRE2's hard partial matching, so that the oracle also knows what must be held back.
/// For texts below the parser's size limits, with cuts between characters.
class ParserOracle {
 public:
  ParserOracle() = default;

  /// The message after `text`, ended by `finish`; without it what may be shown after `text` so far.
  ParsedMessage parse(const std::string& text, const ParserOptions& options, std::optional<StopReason> finish) const {
    Run run{*this, text, options, finish};
    run.all();
    return std::move(run.message);
  }

 private:
  enum class Found { kNo, kPartial, kYes };

  class Pattern {
   public:
    explicit Pattern(const std::string& source) {
      int error = 0;
      PCRE2_SIZE offset = 0;
      const auto* bytes = static_cast<PCRE2_SPTR>(static_cast<const void*>(source.data()));
      code_ = pcre2_compile(bytes, source.size(), PCRE2_ANCHORED | PCRE2_DOTALL, &error, &offset, nullptr);
      if (code_ == nullptr) throw std::runtime_error("bad pattern: " + source);
      match_ = pcre2_match_data_create_from_pattern(code_, nullptr);
    }
    Pattern(const Pattern&) = delete;
    Pattern& operator=(const Pattern&) = delete;
    ~Pattern() {
      pcre2_match_data_free(match_);
      pcre2_code_free(code_);
    }

    Found at(const std::string& text, std::size_t position, std::vector<std::string>& groups) const {
      const auto* bytes = static_cast<PCRE2_SPTR>(static_cast<const void*>(text.data()));
      const int count = pcre2_match(code_, bytes, text.size(), position, PCRE2_PARTIAL_HARD, match_, nullptr);
      if (count == PCRE2_ERROR_PARTIAL) return Found::kPartial;
      if (count < 0) return Found::kNo;
      groups.assign(4, std::string());
      const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(match_);
      for (int group = 0; group < count; ++group) {
        const PCRE2_SIZE begin = offsets[2 * group];
        if (begin != PCRE2_UNSET) {
          groups[static_cast<std::size_t>(group)] = text.substr(begin, offsets[2 * group + 1] - begin);
        }
      }
      return Found::kYes;
    }

   private:
    pcre2_code* code_ = nullptr;
    pcre2_match_data* match_ = nullptr;
  };

  enum class Phase { kText, kName, kInvoke, kValue, kBlock, kDone };

  struct Run {
    const ParserOracle& oracle;
    const std::string& text;
    const ParserOptions& options;
    std::optional<StopReason> finish;
    ParsedMessage message{};
    Phase phase = Phase::kText;
    std::size_t position = 0;
    bool reasoning = false;
    std::size_t settled = 0;  // newlines before it are no separator
    std::vector<std::string> groups{};
    std::set<std::string> keys{};
    bool ignored = false;
    std::string kind{};
    std::size_t value_begin = 0;
    std::size_t held = 0;  // where the undecided tail of a value begins

    void warn(ChatWarning warning) { message.warnings.push_back(warning); }
    std::string& out() { return reasoning ? message.reasoning_content : message.content; }
    std::string& arguments() { return message.tool_calls.back().arguments; }
    static std::string quoted(const std::string& value) { return nlohmann::json(value).dump(); }

    static std::string escaped(const std::string& value) {
      const std::string whole = quoted(value);
      return whole.substr(1, whole.size() - 2);
    }

    bool is(const Pattern& pattern, bool& partial) {
      const Found found = pattern.at(text, position, groups);
      partial = partial || found == Found::kPartial;
      return found == Found::kYes;
    }

    void strip(std::size_t most) {
      for (; most > 0 && out().size() > settled && out().back() == '\n'; --most) out().pop_back();
    }

    std::size_t separator() const { return options.trim_newlines ? text.size() : options.tools ? 2 : 0; }

    void all() {
      reasoning = options.thinking;
      texts();
      while (phase != Phase::kText && position < text.size() && calls()) {
      }
      const bool stop = finish == StopReason::kStop;
      const bool open = phase == Phase::kInvoke || phase == Phase::kValue;
      if (finish && phase == Phase::kText && reasoning && stop) warn(ChatWarning::kUnclosedThink);
      if (finish && (phase == Phase::kName || (open && !stop))) warn(ChatWarning::kTruncatedCall);
      if (phase == Phase::kValue && !stop && kind == "true" && !ignored) {
        arguments() += escaped(text.substr(value_begin, held - value_begin));
      }
      if (!finish) return;
      if (open && stop) {
        if (phase == Phase::kValue) {
          const bool in_tag = text.substr(held).find("</｜DSML｜") != std::string::npos;
          end_value(text.substr(value_begin, (in_tag ? held : text.size()) - value_begin));
        }
        warn(ChatWarning::kAutoClosedCall);
        close();
      }
      message.finish_reason = !stop                        ? FinishReason::kLength
                              : message.tool_calls.empty() ? FinishReason::kStop
                                                           : FinishReason::kToolCalls;
    }

    void texts() {
      while (position < text.size()) {
        if (text[position] != '<') {
          if (!(options.trim_newlines && text[position] == '\n' && out().empty())) out() += text[position];
          ++position;
          continue;
        }
        bool partial = false;
        if (position == 0 && is(oracle.think_, partial)) {
          warn(ChatWarning::kLeadingThink);
          reasoning = true;
          position += groups[0].size();
        } else if (is(oracle.think_end_, partial)) {
          if (options.trim_newlines) strip(text.size());
          settled = reasoning ? 0 : out().size();
          if (!reasoning) warn(ChatWarning::kExtraThinkEnd);
          reasoning = false;
          position += groups[0].size();
        } else if (options.tools && is(oracle.open_, partial)) {
          strip(separator());
          if (reasoning) warn(ChatWarning::kImplicitThinkEnd);
          if (groups[1].empty()) warn(ChatWarning::kMissingBlockOpen);
          phase = groups[3].empty() ? Phase::kName : Phase::kDone;
          position += groups[0].size();
          return;
        } else if (partial) {
          break;
        } else {
          out() += text[position++];
        }
      }
      if (finish) {
        out() += text.substr(position);
      } else {
        strip(separator());
      }
    }

    /// One step inside or after a block; false when more text is needed.
    bool calls() {
      bool partial = false;
      if (phase == Phase::kDone) {
        for (std::size_t i = position; i < text.size(); ++i) {
          if (static_cast<unsigned char>(text[i]) > 0x20 && text.compare(i, 3, "\u3000") != 0) {
            warn(ChatWarning::kTextAfterCalls);
            break;
          }
          if (text.compare(i, 3, "\u3000") == 0) i += 2;
        }
        return false;
      }
      if (phase == Phase::kName) {
        if (!is(oracle.name_, partial)) return false;
        message.tool_calls.push_back({.name = groups[1]});
        keys.clear();
        phase = Phase::kInvoke;
      } else if (phase == Phase::kValue) {
        return value();
      } else if (is(oracle.space_, partial)) {
      } else if (phase == Phase::kInvoke && is(oracle.parameter_, partial)) {
        ignored = !keys.insert(groups[1]).second;
        kind = groups[2];
        if (ignored) warn(ChatWarning::kDuplicateParameter);
        if (!ignored && kind.empty()) warn(ChatWarning::kMissingStringAttribute);
        if (!ignored) {
          arguments() += (arguments().empty() ? "{" : ", ") + quoted(groups[1]) + ": " + (kind == "true" ? "\"" : "");
        }
        phase = Phase::kValue;
        value_begin = held = position + groups[0].size();
      } else if (phase == Phase::kInvoke && is(oracle.invoke_end_, partial)) {
        close();
        phase = Phase::kBlock;
      } else if (is(oracle.calls_end_, partial) || is(oracle.invoke_, partial)) {
        if (phase == Phase::kInvoke) {
          warn(ChatWarning::kAutoClosedCall);
          close();
        }
        phase = groups[0].starts_with("</") ? Phase::kDone : Phase::kName;
      } else if (partial) {
        return false;
      } else {
        if (message.warnings.empty() || message.warnings.back() != ChatWarning::kJunkInBlock) {
          warn(ChatWarning::kJunkInBlock);
        }
        groups.assign(1, std::string(1, text[position]));
      }
      position += groups[0].size();
      return true;
    }

    /// Looks for the end of the value that begins at `position`.
    bool value() {
      value_begin = position;
      for (; position < text.size(); ++position) {
        if (text[position] != '<') continue;
        bool partial = false;
        const bool ends = is(oracle.parameter_end_, partial);
        if (ends || is(oracle.invoke_end_, partial) || is(oracle.calls_end_, partial)) {
          if (!ends) warn(ChatWarning::kMissingParameterEnd);
          end_value(text.substr(value_begin, position - value_begin));
          if (ends) position += groups[0].size();
          phase = Phase::kInvoke;
          return true;
        }
        if (partial) break;
      }
      held = position;
      return false;
    }

    void end_value(const std::string& value) {
      if (ignored) return;
      if (kind == "true") {
        arguments() += escaped(value) + '"';
      } else if (nlohmann::json::accept(value)) {
        arguments() += value;
      } else {
        if (kind == "false") warn(ChatWarning::kInvalidJsonValue);
        arguments() += quoted(value);
      }
    }

    void close() {
      arguments() += arguments().empty() ? "{}" : "}";
      message.tool_calls.back().complete = true;
    }
  };

  static std::string space() {
    return "(?:[\\x09-\\x0D\\x20]|\\xC2[\\x85\\xA0]|\\xE1\\x9A\\x80|\\xE2\\x80[\\x80-\\x8A\\xA8\\xA9\\xAF]|"
           "\\xE2\\x81\\x9F|"
           "\\xE3\\x80\\x80)";
  }
  /// `source` with W for white space and D for the marker's text.
  static std::string with_words(const std::string& source) {
    std::string result;
    for (const char c : source) result += c == 'W' ? space() : c == 'D' ? std::string("｜DSML｜") : std::string(1, c);
    return result;
  }

  Pattern space_{with_words("W")};
  Pattern think_{"<think>"};
  Pattern think_end_{"</think>"};
  Pattern open_{with_words("(<Dtool_callsW*>W*)(?:(<DinvokeW+name=\")|(</Dtool_callsW*>))|<DinvokeW+name=\"")};
  Pattern name_{"([^\"]*)\"[^>]*>"};
  Pattern parameter_{with_words("<DparameterW+name=\"([^\"]*)\"(?:W+string=\"(true|false)\")?W*>")};
  Pattern parameter_end_{with_words("</DparameterW*>")};
  Pattern invoke_{with_words("<DinvokeW+name=\"")};
  Pattern invoke_end_{with_words("</DinvokeW*>")};
  Pattern calls_end_{with_words("</Dtool_callsW*>")};
};

}  // namespace hadal::text

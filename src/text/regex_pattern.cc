// Translation of a split pattern for PCRE2; see regex_split.h.
#include <fmt/format.h>

#include <array>

#include "text/regex_split.h"
#include "text/unicode_additions.h"

namespace hadal::text {
namespace {

std::string ranges_text(std::span<const CodePointRange> ranges) {
  std::string out;
  for (const CodePointRange& range : ranges) {
    out += fmt::format("\\x{{{:X}}}", static_cast<std::uint32_t>(range.first));
    if (range.last != range.first) out += fmt::format("-\\x{{{:X}}}", static_cast<std::uint32_t>(range.last));
  }
  return out;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  Result<std::string> run() {
    while (at_ < pattern_.size()) HADAL_TRY(item());
    return std::move(out_);
  }

 private:
  [[nodiscard]] tl::unexpected<Error> refuse(std::string_view what) const {
    return fail(ErrorCode::kUnsupported, fmt::format("the pattern has {} at byte {}", what, at_));
  }
  [[nodiscard]] bool follows(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  void copy(std::size_t count) {
    out_.append(pattern_.substr(at_, count));
    at_ += count;
  }

  // Anything outside a class.
  Status item() {
    switch (pattern_[at_]) {
      case '\\':
        return escape();
      case '[':
        return set();
      case '(':
        return group();
      case '{':
        return bounds();
      case '^':
      case '$':
      case '.':
        return refuse("an anchor or a dot, which engines read differently,");
      default:
        copy(1);
        return {};
    }
  }

  Status group() {
    static constexpr std::array<std::string_view, 6> kOpenings = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!"};
    for (const std::string_view opening : kOpenings) {
      if (follows(opening)) {
        copy(opening.size());
        return {};
      }
    }
    if (follows("(?") || follows("(*")) return refuse("a kind of group that is not read");
    copy(1);
    return {};
  }

  // {m}, {m,} or {m,n}; a possessive one means something else elsewhere.
  Status bounds() {
    const std::size_t close = pattern_.find('}', at_);
    const std::string_view inside = pattern_.substr(at_ + 1, close == std::string_view::npos ? 0 : close - at_ - 1);
    const std::size_t comma = inside.find(',');
    const auto is_number = [](std::string_view digits) {
      return digits.size() <= 4 && digits.find_first_not_of("0123456789") == std::string_view::npos;
    };
    const bool good = !inside.empty() && comma != 0 && is_number(inside.substr(0, comma)) &&
                      (comma == std::string_view::npos || is_number(inside.substr(comma + 1)));
    if (!good) return refuse("a brace that is no repetition");
    if (pattern_.substr(close + 1).starts_with('+')) return refuse("a possessive repetition of a count");
    copy(close + 1 - at_);
    return {};
  }

  Status set() {
    copy(1);
    if (follows("^")) copy(1);
    if (follows("]")) return refuse("an empty class");
    const std::size_t begin = out_.size() + 1;  // a hyphen there is an ordinary member
    while (true) {
      if (at_ == pattern_.size()) return refuse("a class without its end");
      if (follows("]")) break;
      if (follows("[")) return refuse("a class inside a class");
      if (follows("&&")) return refuse("an intersection of classes");
      if (follows("\\")) {
        in_set_ = true;
        const bool is_class = follows("\\s") || follows("\\p");
        if (is_class && out_.ends_with('-') && !out_.ends_with("\\-") && out_.size() > begin)
          return refuse("a range that ends in a class");
        HADAL_TRY(escape());
        if (is_class && follows("-") && !follows("-]")) return refuse("a range that begins with a class");
        in_set_ = false;
      } else {
        copy(1);
      }
    }
    copy(1);
    return {};
  }

  Status escape() {
    if (at_ + 1 == pattern_.size()) return refuse("a backslash at its end");
    const char kind = pattern_[at_ + 1];
    if (kind == 's' || kind == 'S') {
      if (in_set_ && kind == 'S') return refuse("\\S inside a class");
      const std::string white = ranges_text(kWhiteSpace);
      out_ += in_set_ ? white : fmt::format("[{}{}]", kind == 'S' ? "^" : "", white);
      at_ += 2;
      return {};
    }
    if (kind == 'p' || kind == 'P') return property(kind == 'P');
    if (kind == 'x') return code_point();
    const bool is_control = kind == 'r' || kind == 'n' || kind == 't';
    const bool is_mark = static_cast<unsigned char>(kind) < 0x80 &&
                         std::string_view("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ").find(kind) != std::string_view::npos;
    if (!is_control && !is_mark) return refuse(fmt::format("the escape \\{}, which is not read,", kind));
    copy(2);
    return {};
  }

  Status property(bool negated) {
    static constexpr std::string_view kCategories = "LMNPSZ";
    const std::string_view name = pattern_.substr(at_ + 2, 3);
    if (name.size() != 3 || name[0] != '{' || name[2] != '}' || kCategories.find(name[1]) == std::string_view::npos) {
      return refuse("a property other than L, M, N, P, S, Z");
    }
    if (in_set_ && negated) return refuse("\\P inside a class");
    const std::string members = fmt::format("\\p{{{}}}{}", name[1], ranges_text(unicode_additions(name[1])));
    out_ += in_set_ ? members : fmt::format("[{}{}]", negated ? "^" : "", members);
    at_ += 5;
    return {};
  }

  Status code_point() {
    const std::size_t close = pattern_.find('}', at_);
    const std::size_t digits = close == std::string_view::npos || close < at_ + 3 ? 0 : close - at_ - 3;
    if (!follows("\\x{") || digits == 0 || digits > 6) return refuse("a \\x without braces and digits");
    copy(close + 1 - at_);
    return {};
  }

  std::string_view pattern_;
  std::size_t at_ = 0;
  bool in_set_ = false;
  std::string out_;
};

}  // namespace

Result<std::string> translate_pattern(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace hadal::text

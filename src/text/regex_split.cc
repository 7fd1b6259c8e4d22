#include "text/regex_split.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <utility>

namespace hadal::text {
namespace {

template <auto Free>
struct Freeing {
  template <class T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using CodePointer = std::unique_ptr<pcre2_code, Freeing<pcre2_code_free>>;
using MatchDataPointer = std::unique_ptr<pcre2_match_data, Freeing<pcre2_match_data_free>>;
using MatchContextPointer = std::unique_ptr<pcre2_match_context, Freeing<pcre2_match_context_free>>;
using CompileContextPointer = std::unique_ptr<pcre2_compile_context, Freeing<pcre2_compile_context_free>>;

constexpr std::uint32_t kMatchSteps = 50'000'000;  // of one match
constexpr std::uint32_t kHeapKib = 256 * 1024;     // of the interpreter, where the JIT stack is too small
constexpr PCRE2_SIZE kPatternBytes = 64 << 10;     // after translation
constexpr std::uint32_t kNesting = 50;

PCRE2_SPTR units(std::string_view text) {
  return static_cast<PCRE2_SPTR>(static_cast<const void*>(text.data()));  // never null, see the callers
}

std::string pcre2_message(int number) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(number, buffer.data(), buffer.size());
  return static_cast<const char*>(static_cast<const void*>(buffer.data()));
}

}  // namespace

struct RegexSplit::Code {
  CodePointer code;
  MatchContextPointer context;
};

RegexSplit::RegexSplit(std::unique_ptr<Code> code) : code_(std::move(code)) {}
RegexSplit::RegexSplit(RegexSplit&&) noexcept = default;
RegexSplit& RegexSplit::operator=(RegexSplit&&) noexcept = default;
RegexSplit::~RegexSplit() = default;

Result<RegexSplit> RegexSplit::compile(std::string_view pattern) {
  if (pattern.empty()) return fail(ErrorCode::kUnsupported, "the pattern is empty");
  HADAL_ASSIGN(const std::string translated, translate_pattern(pattern));
  const CompileContextPointer compile_context(pcre2_compile_context_create(nullptr));
  pcre2_set_max_pattern_length(compile_context.get(), kPatternBytes);
  pcre2_set_parens_nest_limit(compile_context.get(), kNesting);
  int number = 0;
  PCRE2_SIZE offset = 0;
  CodePointer code(pcre2_compile(units(translated), translated.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                                 &number, &offset, compile_context.get()));
  if (code == nullptr) {
    return fail(ErrorCode::kCorrupt, fmt::format("the pattern cannot be compiled: {}", pcre2_message(number)));
  }
  std::uint32_t matches_empty = 0;
  pcre2_pattern_info(code.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) return fail(ErrorCode::kUnsupported, "the pattern matches the empty text");
  // Where the JIT is not available the interpreter gives the same matches.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  MatchContextPointer context(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(context.get(), kMatchSteps);
  pcre2_set_heap_limit(context.get(), kHeapKib);
  return RegexSplit(std::make_unique<Code>(Code{std::move(code), std::move(context)}));
}

Status RegexSplit::split(std::string_view text, std::int64_t base, std::vector<std::int64_t>& ends) const {
  if (text.empty()) return {};
  const MatchDataPointer match(pcre2_match_data_create_from_pattern(code_->code.get(), nullptr));
  const PCRE2_SIZE* const offsets = pcre2_get_ovector_pointer(match.get());
  const auto match_from = [&](PCRE2_SIZE start, std::uint32_t options) {
    return pcre2_match(code_->code.get(), units(text), text.size(), start, PCRE2_NO_UTF_CHECK | options, match.get(),
                       code_->context.get());
  };
  PCRE2_SIZE done = 0;
  while (done < text.size()) {
    int number = match_from(done, 0);
    if (number == PCRE2_ERROR_JIT_STACKLIMIT) number = match_from(done, PCRE2_NO_JIT);
    if (number == PCRE2_ERROR_NOMATCH) break;
    if (number < 0) {
      return fail(ErrorCode::kResourceExhausted,
                  fmt::format("a split pattern of the tokenizer gives up at byte {}: {}", done, pcre2_message(number)));
    }
    if (offsets[1] <= offsets[0]) return fail(ErrorCode::kInternal, "a split pattern matched the empty text");
    if (offsets[0] > done) ends.push_back(base + static_cast<std::int64_t>(offsets[0]));
    ends.push_back(base + static_cast<std::int64_t>(offsets[1]));
    done = offsets[1];
  }
  if (done < text.size()) ends.push_back(base + static_cast<std::int64_t>(text.size()));
  return {};
}

}  // namespace hadal::text

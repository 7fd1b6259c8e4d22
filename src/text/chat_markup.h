#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

// Recognition of the tags of a call block at the front of an undecided text. Every function answers kWaits while the
// text may still grow into the tag, so that a parser can hold exactly as much as it must.
namespace hadal::text::markup {

enum class Match : std::uint8_t { kNo, kWaits, kYes };

/// A tag at the front of a text. `size` is its length in bytes when matched.
struct Tag {
  Match match = Match::kNo;
  std::size_t size = 0;
};

/// What opens a block: `<｜DSML｜tool_calls>` with the invoke or the end that follows it, or an invoke alone.
struct BlockOpening {
  Match match = Match::kNo;
  std::size_t size = 0;
  bool bare = false;   // no `<｜DSML｜tool_calls>`
  bool empty = false;  // the block ends at once
};

/// `<｜DSML｜parameter name="..." string="...">`.
struct ParameterTag {
  Match match = Match::kNo;
  std::size_t size = 0;
  std::string_view key;
  bool has_kind = false;
  bool is_string = false;
};

/// Bytes that no well-formed text has; they stand for markers that came as tokens.
inline constexpr std::string_view kDsmlToken = "\xFF";
inline constexpr std::string_view kThinkEndToken = "\xFE";
inline constexpr std::string_view kThinkToken = "\xFD";

struct Rules {
  bool lenient = false;          // doubled bars and a lost first bar count as the marker
  bool tokens = false;           // only kDsmlToken is the marker
  std::size_t max_bytes = 4096;  // a longer tag does not match
};

[[nodiscard]] Tag literal(std::string_view text, std::string_view tag);
/// `</｜DSML｜WORD` W* `>`
[[nodiscard]] Tag closing(std::string_view text, std::string_view word, const Rules& rules);
/// `<｜DSML｜invoke` W+ `name="`
[[nodiscard]] Tag invoke(std::string_view text, const Rules& rules);
[[nodiscard]] ParameterTag parameter(std::string_view text, const Rules& rules);
[[nodiscard]] BlockOpening block_opening(std::string_view text, const Rules& rules);

/// White space (Unicode White_Space) at the front of `text`: kYes with its length, kWaits when the text ends inside a
/// character that may become white space.
[[nodiscard]] Tag white_space(std::string_view text);

/// Whether `text` contains `</｜DSML｜`.
[[nodiscard]] bool has_closing_marker(std::string_view text, const Rules& rules);

}  // namespace hadal::text::markup

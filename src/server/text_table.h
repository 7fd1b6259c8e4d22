#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace hadal::server {

using TextRow = std::vector<std::string>;

/// Columns as wide as they need to be, two spaces apart; the first `left` flush left, the others flush right. The rows
/// have one length; the first is the heading.
[[nodiscard]] std::string text_table(const std::vector<TextRow>& rows, std::size_t left);

/// RFC 4180: lines end in CR LF; a cell with a comma, quote or line end stands in quotes.
[[nodiscard]] std::string csv_text(const std::vector<TextRow>& rows);

}  // namespace hadal::server

#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hadal::text {

/// Looks for stop strings in a text that arrives in pieces of any cut. Holds back only what may still become one. The
/// result does not depend on the cut: the match that ends first wins, the longer one of two that end together.
class StopStrings {
 public:
  /// `stops`: well-formed UTF-8, none empty.
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// Appends the text that is now certain to `out`. True when a stop string is complete: the text before it has been
  /// appended, and nothing may be pushed any more.
  [[nodiscard]] bool push(std::string_view piece, std::string& out);

  /// The stop string that ended the text; "" while there is none.
  [[nodiscard]] std::string_view match() const { return match_ ? std::string_view(*match_) : std::string_view(); }

  /// Appends what was held back: the text ended without a stop string.
  void finish(std::string& out);

 private:
  std::vector<std::string> stops_;
  std::optional<std::string> match_;
  std::string held_;  // a proper prefix of a stop string
};

}  // namespace hadal::text

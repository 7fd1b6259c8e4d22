#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"

namespace hadal::apps {

/// Lines that a person types: with editing and history on a terminal (libedit), else plain standard input.
class LineReader {
 public:
  explicit LineReader(std::string prompt);
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;
  ~LineReader();

  /// The next line without its end; nothing at the end of the input. On a terminal Ctrl-C
  /// empties the line that is being typed. Errors: kUnavailable, kInvalidArgument (a line of more than 1 MiB).
  [[nodiscard]] Result<std::optional<std::string>> next();
  [[nodiscard]] bool terminal() const { return terminal_ != nullptr; }

 private:
  struct Terminal;
  [[nodiscard]] Result<std::optional<std::string>> next_plain();

  std::string prompt_;
  std::unique_ptr<Terminal> terminal_;  // null: standard input is no terminal
};

}  // namespace hadal::apps

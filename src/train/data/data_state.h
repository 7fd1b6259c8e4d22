#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hadal::train {

/// A stretch of a document that waits to be put into a row.
struct Piece {
  std::int64_t document = 0;  // in its set
  std::int64_t offset = 0;    // tokens
  std::int64_t length = 0;    // tokens, at least 1

  bool operator==(const Piece&) const = default;
};

/// Where one source of a DataLoader stands.
struct SourceState {
  std::int64_t documents = 0;  // of its set, to recognise another one
  std::int64_t tokens = 0;
  std::int64_t epoch = 0;     // of the permutation that `position` counts in
  std::int64_t position = 0;  // pieces drawn in this epoch
  std::int64_t choices = 0;   // random choices made in the buffer
  std::int64_t balance = 0;   // tokens put into rows since the weights were set
  std::int64_t drawn = 0;     // pieces drawn in all
  std::int64_t used = 0;      // tokens put into rows in all
  std::int64_t learned = 0;   // of these, positions that carry loss
  std::int64_t cut = 0;       // chats cut at the end of a turn, because they are longer than a row
  std::int64_t dropped = 0;   // chats without an answer that fits into a row
  double share = 0;           // of the tokens, 0..1
  std::vector<Piece> buffer;  // drawn, not yet in a row; in drawing order but for exchanges

  bool operator==(const SourceState&) const = default;
};

/// Everything that the next rows of a DataLoader depend on beside its configuration.
struct DataState {
  std::uint64_t seed = 0;
  std::int64_t longest_piece = 0;
  std::int64_t seq_len = 0;
  std::int64_t rows = 0;     // rows made
  std::int64_t balance = 0;  // tokens put into rows since the weights were set
  std::int64_t padding = 0;  // positions without a token, in all
  std::vector<SourceState> sources;

  bool operator==(const DataState&) const = default;
};

/// A JSON text; doubles keep every bit.
[[nodiscard]] std::string to_json(const DataState& state);
/// The inverse. Error: kCorrupt.
[[nodiscard]] Result<DataState> parse_data_state(std::string_view json);

}  // namespace hadal::train

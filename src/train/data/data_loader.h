#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "train/data/data_state.h"
#include "train/data/token_set.h"

namespace hadal::train {

/// How much of the mixture a source is.
struct SourceWeight {
  enum class Kind : std::uint8_t {
    kEpochs,  // `value` passes over this source for each pass over one of weight 1: share ~ value x its tokens
    kShare,   // `value` of all tokens, 0..1; sources in epochs divide what the shares leave
  };
  Kind kind = Kind::kEpochs;
  double value = 1;  // not negative; 0: not now
};

struct DataSource {
  std::filesystem::path folder;  // a prepared set
  SourceWeight weight{};
  bool learn_all = false;  // a set with a mask: take the loss on every token instead
};

struct DataConfig {
  std::vector<DataSource> sources;  // all of one tokenizer
  std::int64_t seq_len = 0;         // T, tokens of a row; at most longest_piece
  /// Documents are drawn in pieces of this many tokens; not below the largest T of the run, since the order of pieces
  /// depends on it.
  std::int64_t longest_piece = 8192;
  std::uint64_t seed = 0;
};

/// A stretch of a row that is a sequence of its own: attention, compression blocks, positions (from 0) and targets stay
/// inside it.
struct Part {
  std::int32_t start = 0;      // in the row
  std::int32_t length = 0;     // at least 1
  std::int32_t source = -1;    // index in DataConfig::sources; -1: padding
  std::int64_t document = -1;  // in the source's set; -1: padding
  std::int64_t offset = 0;     // tokens of the document before this part
};

/// T tokens of training. The parts follow each other without gaps and cover the row; padding is the last one.
struct Row {
  std::vector<std::int32_t> tokens;  // T
  std::vector<Part> parts;           // at least 1
  std::vector<std::uint8_t>
      loss_mask;                 // T: 1 where the prediction of token t + 1 counts. It lies in the same part then
  std::int64_t used = 0;         // tokens before the padding
  std::int64_t loss_tokens = 0;  // ones in loss_mask
};

/// Makes rows of a mixture of prepared sets, always the same ones for the same configuration, calls and state.
///
/// Order (docs/formats.md, "Order of the data"): a source is visited in a keyed
/// permutation of its pieces, anew for each epoch. The source that lags most behind its share opens a row with a random
/// piece of those it holds ready (up to kBuffer); a piece longer than T leaves its rest there. A shorter one is joined
/// by the longest pieces that still fit. Chats are never torn: longer than T they end at the last end of an answer that
/// fits.
///
/// Not for several threads at once.
class DataLoader {
 public:
  static constexpr std::size_t kBuffer = 128;  // pieces a source

  /// Errors: those of TokenSet::open; kInvalidArgument (no source, bad weights, T out of range, different tokenizers).
  [[nodiscard]] static Result<DataLoader> open(const DataConfig& config);

  /// The next row. The data never ends. Errors: kCorrupt (the files), kInvalidArgument (no source can give a token:
  /// every chat is longer than T).
  [[nodiscard]] Result<Row> next();

  /// T of the following rows; may change at any row. Error: kInvalidArgument (not in 2..longest_piece).
  [[nodiscard]] Status set_seq_len(std::int64_t seq_len);

  /// New weights for the following rows, one a source; takes effect at once, without forgetting what was read.
  /// Error: kInvalidArgument (another number of weights, negative ones, shares above 1, all 0).
  [[nodiscard]] Status set_weights(std::span<const SourceWeight> weights);

  /// State before the next row. A loader that is opened with the same configuration and restored from it gives the same
  /// rows; seq_len and weights come from the state.
  [[nodiscard]] const DataState& state() const { return state_; }
  /// Error: kInvalidArgument (of other sources, seed or longest_piece).
  [[nodiscard]] Status restore(DataState state);

  [[nodiscard]] const std::vector<TokenSet>& sets() const { return sets_; }
  [[nodiscard]] std::int64_t vocab_size() const { return sets_.front().meta().vocab_size; }
  [[nodiscard]] std::int64_t seq_len() const { return state_.seq_len; }

 private:
  DataLoader() = default;
  [[nodiscard]] std::int64_t pieces(std::size_t source) const { return piece_begins_[source].back(); }
  [[nodiscard]] Piece piece(std::size_t source, std::int64_t number) const;
  void refill(std::size_t source);
  // A random piece of those that wait, at most T tokens of it.
  [[nodiscard]] Result<Piece> take_opening(std::size_t source);
  // Tokens of a chat, at most T, up to the end of an answer; 0: none ends there.
  [[nodiscard]] Result<std::int64_t> whole_turns(std::size_t source, const Piece& chat) const;
  struct Waiting {
    std::size_t source;
    std::size_t slot;  // in the source's buffer
  };
  // The longest waiting piece of at most `room` tokens; of equal ones that of the first source, drawn first.
  [[nodiscard]] std::optional<Waiting> best_fit(std::int64_t room);
  [[nodiscard]] Status append(std::size_t source, const Piece& taken, Row& row);
  [[nodiscard]] double lag(std::size_t source) const;

  DataConfig config_;
  std::vector<TokenSet> sets_;
  std::vector<std::vector<std::int64_t>> piece_begins_;  // [source][document]: pieces before it; one more at the end
  DataState state_;
};

}  // namespace hadal::train

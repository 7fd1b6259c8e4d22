#include "train/validation.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "train/data/token_set.h"

namespace hadal::train {

Result<ValidationText> ValidationText::open(std::span<const std::filesystem::path> sets, std::int64_t tokens,
                                            std::int64_t longest_piece, std::string_view tokenizer_sha256) {
  ValidationText text;
  double bytes = 0;
  double predicted = 0;
  for (const std::filesystem::path& folder : sets) {
    HADAL_ASSIGN(const TokenSet set, TokenSet::open(folder));
    if (set.meta().tokenizer_sha256 != tokenizer_sha256) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: was prepared with another tokenizer than the training text; prepare it anew",
                              folder.string()));
    }
    std::int64_t left = tokens / static_cast<std::int64_t>(sets.size());
    for (std::int64_t document = 0; document < set.documents() && left > 0; ++document) {
      for (std::int64_t offset = 0; offset < set.length(document) && left > 0; offset += longest_piece) {
        const std::int64_t length = std::min({longest_piece, set.length(document) - offset, left});
        if (length < 2) break;
        Piece piece;
        piece.tokens.resize(static_cast<std::size_t>(length));
        piece.mask.resize(piece.tokens.size());
        HADAL_TRY(set.read(document, offset, piece.tokens));
        // The mask of a token belongs to the prediction made at the token before it.
        set.read_mask(document, offset + 1, std::span(piece.mask).first(piece.mask.size() - 1));
        left -= length;
        text.pieces_.push_back(std::move(piece));
      }
    }
    const SourceTotals totals = set.meta().totals();
    bytes += static_cast<double>(totals.bytes);
    predicted += static_cast<double>(totals.tokens - totals.documents);  // all but bos
  }
  if (predicted > 0) text.bytes_per_token_ = bytes / predicted;
  return text;
}

std::vector<TrainingSequence> ValidationText::sequences() const {
  std::vector<TrainingSequence> sequences;
  sequences.reserve(pieces_.size());
  for (const Piece& piece : pieces_) sequences.push_back({.tokens = piece.tokens, .loss_mask = piece.mask});
  return sequences;
}

}  // namespace hadal::train

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "train/training_step.h"

namespace hadal::train {

/// The beginning of each prepared set of held-out text, in pieces as long as the model is trained on: the same ones at
/// every evaluation.
class ValidationText {
 public:
  /// Takes about `tokens` tokens in all, the sets alike. Errors: those of TokenSet; kInvalidArgument (a set of another
  /// tokenizer).
  [[nodiscard]] static Result<ValidationText> open(std::span<const std::filesystem::path> sets, std::int64_t tokens,
                                                   std::int64_t longest_piece, std::string_view tokenizer_sha256);

  [[nodiscard]] bool empty() const { return pieces_.empty(); }
  [[nodiscard]] std::vector<TrainingSequence> sequences() const;
  /// Bytes of text a token, on average over the sets.
  [[nodiscard]] double bytes_per_token() const { return bytes_per_token_; }

 private:
  struct Piece {
    std::vector<std::int32_t> tokens;
    std::vector<std::uint8_t> mask;  // of the predictions
  };
  std::vector<Piece> pieces_;
  double bytes_per_token_ = 0;
};

}  // namespace hadal::train

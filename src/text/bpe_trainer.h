#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/v4_scanner.h"

namespace hadal::text {

/// How often each piece of V4's pre-tokenizer occurs in some texts.
class PieceCounts {
 public:
  /// Counts the pieces of `text` (well-formed UTF-8) `weight` times.
  void add(std::string_view text, std::int64_t weight = 1);

  [[nodiscard]] std::int64_t pieces() const { return pieces_; }  // with repetitions and weights
  [[nodiscard]] std::int64_t distinct() const { return static_cast<std::int64_t>(counts_.size()); }

 private:
  friend class BpeTrainer;
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  V4Scanner scanner_;
  std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> counts_;
  std::int64_t pieces_ = 0;
};

struct BpeTrainingOptions {
  std::int64_t merges = 0;           // at most; fewer when the texts give no more
  std::int64_t min_count = 2;        // a rarer pair is not merged
  std::size_t max_token_bytes = 24;  // a longer token is not made
  /// Called now and then; false ends the training with kCancelled.
  std::function<bool(std::int64_t done, std::int64_t total)> progress{};
};

/// A learned byte-pair encoding. Symbols 0..255 are the single bytes in the order of the byte characters (V4's order),
/// 256 + k is the result of merge k. No two merges have the same result.
struct TrainedBpe {
  std::vector<std::string> symbols;  // bytes
  std::vector<std::pair<std::int32_t, std::int32_t>> merges;
};

/// Byte-pair encoding of the counted pieces: again and again the most frequent adjacent pair of symbols becomes a
/// symbol. Of equally frequent pairs the one whose bytes in a row are smaller is taken, then the one with the shorter
/// left part; a pair that spells an existing symbol is never merged. The result depends on the counts alone.
/// Error: kCancelled.
[[nodiscard]] Result<TrainedBpe> train_bpe(const PieceCounts& counts, const BpeTrainingOptions& options);

}  // namespace hadal::text

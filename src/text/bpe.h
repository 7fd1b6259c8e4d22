#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace hadal::text {

/// One merge: the adjacent tokens `left`, `right` become `result`. Its place in the list is its rank.
struct Merge {
  std::int32_t left = 0;
  std::int32_t right = 0;
  std::int32_t result = 0;
};

/// Byte-pair encoding of one piece: while an adjacent pair of tokens is in the merge table, the one of lowest rank (the
/// leftmost of equals) is merged. Immutable.
class BytePairEncoder {
 public:
  /// `byte_ids`: the id of each single byte. No pair stands twice in `merges`; less than 2^24 of them.
  BytePairEncoder(const std::array<std::int32_t, 256>& byte_ids, std::span<const Merge> merges);

  /// Appends the ids of `piece` to `out`. Time n log n, memory 24 bytes a byte for long pieces.
  void encode(std::string_view piece, std::vector<std::int32_t>& out) const;

 private:
  // Open addressing; an empty slot has the rank kNone.
  struct Slot {
    std::int32_t left = 0;
    std::int32_t right = 0;
    std::uint32_t rank = kNone;
  };
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;

  [[nodiscard]] std::uint32_t rank(std::int32_t left, std::int32_t right) const;
  [[nodiscard]] std::uint32_t byte_rank(char left, char right) const {
    return byte_ranks_[std::size_t{static_cast<unsigned char>(left)} << 8 | static_cast<unsigned char>(right)];
  }
  [[nodiscard]] static std::uint64_t hash(std::int32_t left, std::int32_t right);
  void encode_short(std::string_view piece, std::vector<std::int32_t>& out) const;
  void encode_long(std::string_view piece, std::vector<std::int32_t>& out) const;

  std::array<std::int32_t, 256> byte_ids_;
  std::vector<std::uint32_t> byte_ranks_;  // [left byte][right byte]: the first look at a piece needs no hashing
  std::vector<Slot> slots_;                // a power of two, at most half full
  int shift_ = 0;                          // 64 - log2 of their number
  std::vector<std::uint64_t> filter_;  // four bits a slot, set for the pairs that exist: most looks end here, in cache
  std::vector<std::int32_t> results_;  // by rank
};

}  // namespace hadal::text

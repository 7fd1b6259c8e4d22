#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace hadal::text {

/// Ids of short pieces that one thread met lately: a table of 1 MiB in which a new piece takes the place of an older
/// one. Tokenizers share it; `owner` (not 0) tells them apart. Never changes a result, only its time.
class PieceCache {
 public:
  static constexpr std::size_t kMaxBytes = 24;
  static constexpr std::size_t kMaxIds = 7;

  /// A piece as three words that determine it together with its length, and whose ids are meant.
  struct Key {
    std::array<std::uint64_t, 3> words{};
    std::uint64_t owner_and_size = 0;  // owner << 8 | size
    bool operator==(const Key&) const = default;
  };

  /// `piece` has 1..kMaxBytes bytes.
  [[nodiscard]] static Key key(std::uint64_t owner, std::string_view piece) {
    const char* const data = piece.data();
    const std::size_t size = piece.size();
    const auto word = [data]<class Word>(std::size_t at, Word value) {
      std::memcpy(&value, data + at, sizeof(Word));
      return std::uint64_t{value};
    };
    Key key{.owner_and_size = owner << 8 | size};
    if (size >= 8) {
      key.words[0] = word(0, std::uint64_t{});
      key.words[1] = word(size - 8, std::uint64_t{});  // may overlap the first
      if (size > 16) key.words[2] = word(8, std::uint64_t{});
    } else if (size >= 4) {
      key.words[0] = word(0, std::uint32_t{});
      key.words[1] = word(size - 4, std::uint32_t{});
    } else {
      // First, middle and last byte are all of them.
      key.words[0] =
          word(0, std::uint8_t{}) << 16 | word(size / 2, std::uint8_t{}) << 8 | word(size - 1, std::uint8_t{});
    }
    return key;
  }

  /// The ids of a piece, empty if it is not here.
  [[nodiscard]] std::span<const std::int32_t> find(const Key& key) const {
    const Entry& entry = entries_[place(key)];
    if (entry.key != key) return {};
    return {entry.ids.data(), entry.count};
  }

  void put(const Key& key, std::span<const std::int32_t> ids) {
    if (ids.size() > kMaxIds) return;
    Entry& entry = entries_[place(key)];
    entry.key = key;
    entry.count = static_cast<std::uint8_t>(ids.size());
    std::memcpy(entry.ids.data(), ids.data(), ids.size_bytes());
  }

 private:
  static constexpr int kBits = 14;
  static constexpr std::size_t kEntries = std::size_t{1} << kBits;

  struct alignas(64) Entry {
    Key key{};  // all zero: empty
    std::array<std::int32_t, kMaxIds> ids{};
    std::uint8_t count = 0;
  };

  [[nodiscard]] static std::size_t place(const Key& key) {
    std::uint64_t hash = (key.words[0] ^ key.owner_and_size << 48) * 0x9E3779B97F4A7C15U;
    hash = (hash ^ hash >> 32 ^ key.words[1]) * 0xC2B2AE3D27D4EB4FU;
    hash = (hash ^ hash >> 29 ^ key.words[2]) * 0x9E3779B97F4A7C15U;
    return static_cast<std::size_t>(hash >> (64 - kBits));
  }

  std::unique_ptr<Entry[]> entries_ = std::make_unique<Entry[]>(kEntries);
};

}  // namespace hadal::text

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace hadal::ops::reference {

/// Bytes that `count` values of type E take in a Scratch.
template <class E>
[[nodiscard]] constexpr std::int64_t padded_bytes(std::int64_t count) {
  return (count * static_cast<std::int64_t>(sizeof(E)) + 63) / 64 * 64;
}

/// Cuts a stream's working memory into arrays, each aligned to 64 bytes. The caller has asked for enough.
class Scratch {
 public:
  explicit Scratch(std::byte* memory) : next_(memory) {}

  template <class E>
  [[nodiscard]] E* take(std::int64_t count) {
    void* const array = next_;
    next_ += padded_bytes<E>(count);
    return static_cast<E*>(array);
  }
  /// The same, filled with zeros.
  template <class E>
  [[nodiscard]] E* zeros(std::int64_t count) {
    E* const array = take<E>(count);
    std::fill(array, array + count, E{});
    return array;
  }

 private:
  std::byte* next_;
};

/// Operators that need no working memory; those that do overload this for their Args.
template <class Args>
[[nodiscard]] std::int64_t scratch_bytes(const Args&) {
  return 0;
}

}  // namespace hadal::ops::reference

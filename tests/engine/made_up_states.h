#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/philox.h"
#include "engine/prefix_keys.h"
#include "engine/prefix_store.h"
#include "ops/step_layout.h"

namespace hadal::testing {

/// States of no model: every byte follows from the name of what it belongs to, so that a wrong one shows.
class MadeUpStates {
 public:
  static constexpr Hash128 kModel{.low = 11, .high = 22};

  explicit MadeUpStates(std::int64_t slot_bytes = 448, std::int64_t page_bytes = 192)
      : format_{.model = kModel, .slot_bytes = slot_bytes, .page_bytes = page_bytes, .roll_back_tokens = 8} {}

  [[nodiscard]] const engine::PrefixFormat& format() const { return format_; }
  [[nodiscard]] std::int64_t pages(std::int64_t tokens) const {
    return format_.page_bytes > 0 ? tokens / ops::kPageTokens : 0;
  }

  /// `count` ids that depend on `seed`; the first `common` of them do not.
  [[nodiscard]] static std::vector<std::int64_t> tokens(std::int64_t count, std::uint32_t seed = 0,
                                                        std::int64_t common = 0) {
    std::vector<std::int64_t> result;
    result.reserve(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
      result.push_back(philox({static_cast<std::uint32_t>(i), 0, 0, 0}, {i < common ? 0 : seed, 5})[0] % 1000);
    }
    return result;
  }
  [[nodiscard]] static engine::PrefixKeys keys(std::span<const std::int64_t> tokens,
                                               const engine::PrefixDomain& domain = {}) {
    return {kModel, domain, tokens};
  }

  /// The state of all tokens.
  [[nodiscard]] model::StateBytes state(const engine::PrefixKeys& keys) const {
    const Hash128 key = keys.entry(keys.length());
    model::StateBytes state{.length = keys.length(),
                            .can_roll_back = static_cast<std::int64_t>(key.low % 8) % keys.length(),
                            .slot = bytes(key, 1, format_.slot_bytes),
                            .tail = {}};
    if (keys.length() % ops::kPageTokens != 0) state.tail = bytes(key, 2, format_.page_bytes);
    return state;
  }
  /// Its full pages from number `first` on.
  [[nodiscard]] std::vector<std::byte> page_bytes(const engine::PrefixKeys& keys, std::int64_t first) const {
    std::vector<std::byte> result;
    for (std::int64_t page = first; page < pages(keys.length()); ++page) {
      const auto one = bytes(keys.node(page + 1), 3, format_.page_bytes);
      result.insert(result.end(), one.begin(), one.end());
    }
    return result;
  }
  [[nodiscard]] engine::PrefixRecord record(const engine::PrefixPlace& place, const engine::PrefixKeys& keys) const {
    return {.place = place,
            .state = std::make_shared<const model::StateBytes>(state(keys)),
            .pages = page_bytes(keys, pages(place.parent_length))};
  }
  /// A record that builds on nothing.
  [[nodiscard]] engine::PrefixRecord record(const engine::PrefixKeys& keys) const {
    return record({.key = keys.entry(keys.length()),
                   .node = keys.node(keys.pages()),
                   .parent = {},
                   .length = keys.length(),
                   .parent_length = 0},
                  keys);
  }

  /// As the cache does it: with what is replaced when the state ends inside a page. False: it is there, or not taken.
  bool put(engine::PrefixStore& store, const engine::PrefixKeys& keys) const {
    const auto place = store.plan(keys);
    if (!place || !store.accepts(*place)) return false;
    std::vector<Hash128> replaced;
    if (keys.length() % ops::kPageTokens != 0) replaced = store.tails_before(keys);
    store.put(record(*place, keys), std::move(replaced));
    return true;
  }

  /// Length of what the store gives for these tokens, after a look at all its bytes; a damaged file: what is left
  /// after it was dropped.
  [[nodiscard]] std::int64_t serve(engine::PrefixStore& store, std::span<const std::int64_t> tokens,
                                   std::int64_t first_page = 0) const {
    while (true) {
      const engine::PrefixKeys all = keys(tokens);
      const std::int64_t length = store.longest(all, all.length());
      if (length == 0) return 0;
      const engine::PrefixKeys named = keys(tokens.first(static_cast<std::size_t>(length)));
      const std::int64_t from = std::min(first_page, pages(length));
      const auto read = store.read(named.entry(length), from);
      if (!read) {
        ADD_FAILURE() << read.error().message;
        return 0;
      }
      const auto& loaded = *read;
      if (!loaded) continue;
      const model::StateBytes expected = state(named);
      EXPECT_EQ(loaded->state.length, expected.length);
      EXPECT_EQ(loaded->state.can_roll_back, expected.can_roll_back);
      EXPECT_TRUE(loaded->state.slot == expected.slot) << "slot at " << length;
      EXPECT_TRUE(loaded->state.tail == expected.tail) << "unfinished page at " << length;
      EXPECT_TRUE(loaded->pages == page_bytes(named, from)) << "pages at " << length;
      return length;
    }
  }

 private:
  static std::vector<std::byte> bytes(const Hash128& name, std::uint32_t kind, std::int64_t count) {
    std::vector<std::byte> result;
    for (std::uint32_t i = 0; static_cast<std::int64_t>(result.size()) < count; ++i) {
      const auto bits =
          philox({i, kind, static_cast<std::uint32_t>(name.low), static_cast<std::uint32_t>(name.low >> 32)},
                 {static_cast<std::uint32_t>(name.high), static_cast<std::uint32_t>(name.high >> 32)});
      for (const std::uint32_t word : bits) result.push_back(static_cast<std::byte>(word >> 24));
    }
    result.resize(static_cast<std::size_t>(count));
    return result;
  }

  engine::PrefixFormat format_;
};

}  // namespace hadal::testing

#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/checksum.h"
#include "model/executor.h"
#include "ops/step_layout.h"

namespace hadal::engine {

/// Who may find an entry: entries are shared inside one domain only.
struct PrefixDomain {
  std::array<std::uint64_t, 2> hash{};

  [[nodiscard]] bool operator==(const PrefixDomain& other) const = default;
};

/// Of all that the bytes of a state depend on beside the tokens: `fingerprint`, the executor's backend, numerics and
/// drafting, and the layout.
[[nodiscard]] Hash128 prefix_model_key(std::string_view fingerprint, const model::Executor& executor);

/// The names of a token sequence's beginnings, each by what comes before it: k(0) = H(model, domain), and
/// k(i + 1) = H(k(i), 128 token ids). The name of a beginning that is no multiple of 128 long is H(k(i), ids beyond).
class PrefixKeys {
 public:
  /// `tokens` must outlive it. Hashes them once.
  PrefixKeys(const Hash128& model, const PrefixDomain& domain, std::span<const std::int64_t> tokens);

  /// Tokens that are named.
  [[nodiscard]] std::int64_t length() const { return static_cast<std::int64_t>(tokens_.size()); }
  /// Full pages among them.
  [[nodiscard]] std::int64_t pages() const { return static_cast<std::int64_t>(chain_.size()) - 1; }
  /// Behind the first `page` pages.
  [[nodiscard]] const Hash128& node(std::int64_t page) const { return chain_[static_cast<std::size_t>(page)]; }
  /// Of the first `length` tokens.
  [[nodiscard]] Hash128 entry(std::int64_t length) const;

 private:
  std::span<const std::int64_t> tokens_;
  std::vector<Hash128> chain_;
};

}  // namespace hadal::engine

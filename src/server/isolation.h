#pragma once

#include <cstdint>
#include <string_view>

#include "engine/prefix_keys.h"

namespace hadal::server {

/// Whose prompts may find each other's prefixes in the cache.
enum class CacheIsolation : std::uint8_t {
  kNone,  // everybody's
  kKey,   // those of one key
  kUser,  // those of one user of one key
};

/// The domain of a request: of the key's id, the user that the request names and its `cache_salt`, which always counts.
/// No client can name a user so that it comes into another key's domain.
[[nodiscard]] engine::PrefixDomain prefix_domain(CacheIsolation isolation, std::string_view key_id,
                                                 std::string_view user, std::string_view salt);

}  // namespace hadal::server

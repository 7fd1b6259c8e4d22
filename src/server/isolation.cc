#include "server/isolation.h"

#include <array>
#include <cstring>
#include <string>

#include "base/sha256.h"

namespace hadal::server {

engine::PrefixDomain prefix_domain(CacheIsolation isolation, std::string_view key_id, std::string_view user,
                                   std::string_view salt) {
  if (isolation == CacheIsolation::kNone) key_id = {};
  if (isolation != CacheIsolation::kUser) user = {};
  // Lengths stand in front, so that no two triples have one text. A cryptographic hash, since clients choose two of
  // them.
  std::string text;
  for (const std::string_view part : {key_id, user, salt}) {
    text += std::to_string(part.size());
    text += ':';
    text += part;
  }
  const Sha256Digest digest = sha256(text);
  engine::PrefixDomain domain;
  std::memcpy(domain.hash.data(), digest.data(), sizeof(domain.hash));
  return domain;
}

}  // namespace hadal::server

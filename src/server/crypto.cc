#include "server/crypto.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

namespace hadal::server {

bool equal_in_constant_time(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Status random_bytes(std::span<std::uint8_t> out) {
  if (RAND_bytes(out.data(), static_cast<int>(out.size())) == 1) return {};
  return fail(ErrorCode::kUnavailable, "the system gives no random bytes for a key; try again");
}

}  // namespace hadal::server

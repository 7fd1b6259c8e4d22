#include "server/random_bits.h"

#include <sys/random.h>

#include <cerrno>

#include "base/check.h"

namespace hadal::server {

std::uint64_t random_bits() {
  std::uint64_t bits = 0;
  ssize_t read = 0;
  // Up to 256 bytes come whole or not at all; only a signal before the generator is seeded can interrupt.
  do read = ::getrandom(&bits, sizeof(bits), 0);
  while (read < 0 && errno == EINTR);
  HADAL_CHECK(read == sizeof(bits), "the kernel gives random bits");
  return bits;
}

}  // namespace hadal::server

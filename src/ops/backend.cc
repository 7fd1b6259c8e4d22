#include "ops/backend.h"

#include <atomic>

namespace hadal::ops {

std::size_t OpTable::next_index() {
  static std::atomic<std::size_t> next{0};
  return next.fetch_add(1);
}

}  // namespace hadal::ops

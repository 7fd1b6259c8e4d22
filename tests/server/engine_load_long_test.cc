#include <gtest/gtest.h>

#include "server/engine_load.h"

namespace hadal::server {
namespace {

TEST(EngineLoad, TenThousandRequestsWithRandomEndsLeaveNothingBehind) { expect_nothing_left_behind(10'000); }

}  // namespace
}  // namespace hadal::server

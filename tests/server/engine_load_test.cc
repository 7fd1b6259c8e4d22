#include <gtest/gtest.h>

#include "server/engine_load.h"

namespace hadal::server {
namespace {

TEST(EngineLoad, RequestsWithRandomEndsLeaveNothingBehind) { expect_nothing_left_behind(400); }

}  // namespace
}  // namespace hadal::server

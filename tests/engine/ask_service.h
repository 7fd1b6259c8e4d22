#pragma once

#include <gtest/gtest.h>

#include <future>
#include <memory>

#include "engine/request_recorder.h"
#include "engine/service.h"

namespace hadal::testing {

/// Asks a service and waits until it has answered.
inline std::shared_ptr<RequestRecorder> answer_of(engine::Service& service, const engine::ServiceRequest& request) {
  const auto sink = std::make_shared<RequestRecorder>();
  std::promise<void> done;
  sink->on_finished = [&done] { done.set_value(); };
  const auto id = service.submit(request, sink);
  EXPECT_TRUE(id) << id.error().message;
  if (id) done.get_future().wait();
  return sink;
}

}  // namespace hadal::testing

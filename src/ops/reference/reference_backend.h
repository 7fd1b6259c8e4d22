#pragma once

#include <memory>

#include "ops/backend.h"

namespace hadal::ops {

/// The plain operators of ops/reference on host memory: the definition of right. One thread, no SIMD code of its own;
/// computes in double where a tensor is f64, else in float. Streams run their work at once, so wait() does nothing.
class ReferenceBackend final : public Backend {
 public:
  ReferenceBackend();

  [[nodiscard]] std::string_view name() const override { return "reference"; }
  [[nodiscard]] std::string_view instruction_set() const override { return "generic"; }
  [[nodiscard]] const OpTable& ops() const override { return table_; }
  [[nodiscard]] int workers() const override { return 1; }
  [[nodiscard]] Result<Buffer> allocate(std::int64_t bytes) override;
  [[nodiscard]] std::unique_ptr<Stream> create_stream() override;
  [[nodiscard]] Result<Weight> prepare(const Weight& host) override { return host; }

 private:
  OpTable table_;
};

}  // namespace hadal::ops

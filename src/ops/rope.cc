#include "ops/rope.h"

#include "ops/checks.h"

namespace hadal::ops {

Status rope(Stream& stream, const Rope::Args& args) {
  const auto& [x, positions, frequencies, inverse] = args;
  const std::int64_t rows = x.extent(0);
  const std::int64_t rotated = 2 * frequencies.extent(0);
  Checker check(stream, Rope::name);
  check.source("x", x, kReal, 3, "[rows, heads, channels]");
  check.tensor("positions", positions, {DType::kI64}, {rows}, "rows of x");
  check.source("frequencies", frequencies, {DType::kF32}, 1, "[rotated channels / 2]");
  check.number("number of rotated channels", rotated, rotated <= x.extent(2), "at most the channels of x");
  check.separate("x", x, {{"positions", positions}, {"frequencies", frequencies}});
  return run<Rope>(stream, args, check, rows, {{"x", x}, {"frequencies", frequencies}});
}

}  // namespace hadal::ops

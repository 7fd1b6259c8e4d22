#include "ops/add_position_bias.h"

#include "ops/checks.h"

namespace hadal::ops {

Status add_position_bias(Stream& stream, const AddPositionBias::Args& args) {
  const auto& [x, positions, bias] = args;
  const std::int64_t rows = x.extent(0);
  Checker check(stream, AddPositionBias::name);
  check.source("x", x, kReal, 2, "[rows, channels]");
  check.tensor("positions", positions, {DType::kI64}, {rows}, "rows of x");
  check.source("bias", bias.codes, {DType::kF32}, 2, "[period, channels]");
  check.constant("bias", bias, {DType::kF32}, {bias.codes.extent(0), x.extent(1)}, "channels of x");
  check.number("period of bias", bias.codes.extent(0), bias.codes.extent(0) >= 1, "at least 1");
  check.separate("x", x, {{"positions", positions}, {"bias", bias.codes}});
  return run<AddPositionBias>(stream, args, check, rows, {{"x", x}, {"bias", bias.codes}});
}

}  // namespace hadal::ops

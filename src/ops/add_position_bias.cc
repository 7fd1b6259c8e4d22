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

Status add_position_bias_backward(Stream& stream, const AddPositionBiasBackward::Args& args) {
  const auto& [positions, d_x, d_bias] = args;
  const std::int64_t rows = d_x.extent(0);
  Checker check(stream, AddPositionBiasBackward::name);
  check.source("d_x", d_x, kReal, 2, "[rows, channels]");
  check.tensor("positions", positions, {DType::kI64}, {rows}, "rows of d_x");
  check.source("d_bias", d_bias, {d_x.type()}, 2, "[period, channels]");
  check.tensor("d_bias", d_bias, {d_x.type()}, {d_bias.extent(0), d_x.extent(1)}, "channels of d_x");
  check.number("period of d_bias", d_bias.extent(0), d_bias.extent(0) >= 1, "at least 1");
  check.separate("d_bias", d_bias, {{"positions", positions}, {"d_x", d_x}});
  return run<AddPositionBiasBackward>(stream, args, check, rows, {{"d_x", d_x}, {"d_bias", d_bias}});
}

}  // namespace hadal::ops

#include "ops/round_rows.h"

#include "ops/checks.h"

namespace hadal::ops {

Status round_rows(Stream& stream, const RoundRows::Args& args) {
  const auto& [input, out, rounding, channels] = args;
  const std::int64_t rows = input.extent(0);
  Checker check(stream, RoundRows::name);
  check.source("input", input, kReal, 2, "[rows, channels]", Layout::kStridedRows);
  check.tensor("out", out, kRealOrBf16, {rows, input.extent(1)}, "like input", Layout::kStridedRows);
  check.number("channels", channels, channels >= 0 && channels <= input.extent(1),
               "between 0 and the channels of input");
  check.number("channels", channels, channels % block_length(rounding) == 0, "a multiple of the rounding's block");
  check.separate("out", out, {{"input", input, Sharing::kSameView}});
  return run<RoundRows>(stream, args, check, rows, {{"input", input}, {"out", out}});
}

}  // namespace hadal::ops

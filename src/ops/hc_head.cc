#include "ops/hc_head.h"

#include "ops/checks.h"

namespace hadal::ops {

Status hc_head(Stream& stream, const HcHead::Args& args) {
  const TensorView& streams = args.streams;
  const std::int64_t tokens = streams.extent(0);
  const std::int64_t n = streams.extent(1);
  const std::int64_t channels = streams.extent(2);
  constexpr TypeSet kF32{DType::kF32};
  Checker check(stream, HcHead::name);
  check.source("streams", streams, kReal, 3, "[tokens, streams, channels]");
  check.number("number of streams", n, n <= 8, "at most 8");
  check.constant("fn", args.fn, kF32, {n, n * channels}, "streams, streams * channels");
  check.constant("base", args.base, kF32, {n}, "streams");
  check.constant("scale", args.scale, kF32, {1}, "one factor");
  check.tensor("out", args.out, {streams.type()}, {tokens, channels}, "tokens and channels of streams");
  check.number("norm_eps", args.norm_eps, args.norm_eps >= 0, "at least 0");
  check.number("hc_eps", args.hc_eps, args.hc_eps >= 0, "at least 0");
  check.separate("out", args.out,
                 {{"streams", streams}, {"fn", args.fn.codes}, {"base", args.base.codes}, {"scale", args.scale.codes}});
  return run<HcHead>(stream, args, check, tokens, {{"streams", streams}, {"fn", args.fn.codes}, {"out", args.out}});
}

}  // namespace hadal::ops

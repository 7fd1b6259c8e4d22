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

Status hc_head_backward(Stream& stream, const HcHeadBackward::Args& args) {
  const TensorView& streams = args.streams;
  const DType type = streams.type();
  const std::int64_t tokens = streams.extent(0);
  const std::int64_t n = streams.extent(1);
  const std::int64_t channels = streams.extent(2);
  constexpr TypeSet kF32{DType::kF32};
  Checker check(stream, HcHeadBackward::name);
  check.source("streams", streams, kReal, 3, "[tokens, streams, channels]");
  check.number("number of streams", n, n <= 8, "at most 8");
  check.constant("fn", args.fn, kF32, {n, n * channels}, "streams, streams * channels");
  check.constant("base", args.base, kF32, {n}, "streams");
  check.constant("scale", args.scale, kF32, {1}, "one factor");
  check.tensor("d_out", args.d_out, {type}, {tokens, channels}, "tokens and channels of streams");
  check.number("norm_eps", args.norm_eps, args.norm_eps >= 0, "at least 0");
  check.number("hc_eps", args.hc_eps, args.hc_eps >= 0, "at least 0");
  check.tensor("d_streams", args.d_streams, {type}, {tokens, n, channels}, "like streams");
  if (!args.d_fn.absent()) check.tensor("d_fn", args.d_fn, {type}, {n, n * channels}, "like fn");
  if (!args.d_base.absent()) check.tensor("d_base", args.d_base, {type}, {n}, "like base");
  if (!args.d_scale.absent()) check.tensor("d_scale", args.d_scale, {type}, {1}, "like scale");
  const NamedView sources[] = {{"streams", streams},
                               {"fn", args.fn.codes},
                               {"base", args.base.codes},
                               {"scale", args.scale.codes},
                               {"d_out", args.d_out}};
  for (const NamedView& source : sources) {
    check.separate("d_streams", args.d_streams, {source});
    check.separate("d_fn", args.d_fn, {source});
    check.separate("d_base", args.d_base, {source});
    check.separate("d_scale", args.d_scale, {source});
  }
  check.separate("d_streams", args.d_streams,
                 {{"d_fn", args.d_fn}, {"d_base", args.d_base}, {"d_scale", args.d_scale}});
  check.separate("d_fn", args.d_fn, {{"d_base", args.d_base}, {"d_scale", args.d_scale}});
  check.separate("d_base", args.d_base, {{"d_scale", args.d_scale}});
  return run<HcHeadBackward>(stream, args, check, tokens,
                             {{"streams", streams}, {"fn", args.fn.codes}, {"d_out", args.d_out}});
}

}  // namespace hadal::ops

#include "ops/hc_pre.h"

#include "ops/checks.h"

namespace hadal::ops {

Status hc_pre(Stream& stream, const HcPre::Args& args) {
  const TensorView& streams = args.streams;
  const std::int64_t tokens = streams.extent(0);
  const std::int64_t n = streams.extent(1);
  const std::int64_t channels = streams.extent(2);
  const std::int64_t mixes = (2 + n) * n;
  constexpr TypeSet kF32{DType::kF32};
  Checker check(stream, HcPre::name);
  check.source("streams", streams, kReal, 3, "[tokens, streams, channels]");
  check.number("number of streams", n, n <= 8, "at most 8");
  check.constant("fn", args.fn, kF32, {mixes, n * channels}, "(2 + streams) * streams, streams * channels");
  check.constant("base", args.base, kF32, {mixes}, "(2 + streams) * streams");
  check.constant("scale", args.scale, kF32, {3}, "pre, post, comb");
  check.tensor("input", args.input, {streams.type()}, {tokens, channels}, "tokens and channels of streams");
  check.tensor("post", args.post, {streams.type()}, {tokens, n}, "tokens and streams");
  check.tensor("comb", args.comb, {streams.type()}, {tokens, n, n}, "tokens and streams");
  check.number("norm_eps", args.norm_eps, args.norm_eps >= 0, "at least 0");
  check.number("hc_eps", args.hc_eps, args.hc_eps >= 0, "at least 0");
  check.number("sinkhorn_iterations", args.sinkhorn_iterations, args.sinkhorn_iterations >= 1, "at least 1");
  const NamedView sources[] = {
      {"streams", streams}, {"fn", args.fn.codes}, {"base", args.base.codes}, {"scale", args.scale.codes}};
  for (const NamedView& source : sources) {
    check.separate("input", args.input, {source});
    check.separate("post", args.post, {source});
    check.separate("comb", args.comb, {source});
  }
  check.separate("input", args.input, {{"post", args.post}, {"comb", args.comb}});
  check.separate("post", args.post, {{"comb", args.comb}});
  return run<HcPre>(stream, args, check, tokens, {{"streams", streams}, {"fn", args.fn.codes}, {"input", args.input}});
}

Status hc_pre_backward(Stream& stream, const HcPreBackward::Args& args) {
  const TensorView& streams = args.streams;
  const DType type = streams.type();
  const std::int64_t tokens = streams.extent(0);
  const std::int64_t n = streams.extent(1);
  const std::int64_t channels = streams.extent(2);
  const std::int64_t mixes = (2 + n) * n;
  constexpr TypeSet kF32{DType::kF32};
  Checker check(stream, HcPreBackward::name);
  check.source("streams", streams, kReal, 3, "[tokens, streams, channels]");
  check.number("number of streams", n, n <= 8, "at most 8");
  check.constant("fn", args.fn, kF32, {mixes, n * channels}, "(2 + streams) * streams, streams * channels");
  check.constant("base", args.base, kF32, {mixes}, "(2 + streams) * streams");
  check.constant("scale", args.scale, kF32, {3}, "pre, post, comb");
  check.tensor("d_input", args.d_input, {type}, {tokens, channels}, "tokens and channels of streams");
  check.tensor("d_post", args.d_post, {type}, {tokens, n}, "tokens and streams");
  check.tensor("d_comb", args.d_comb, {type}, {tokens, n, n}, "tokens and streams");
  check.number("norm_eps", args.norm_eps, args.norm_eps >= 0, "at least 0");
  check.number("hc_eps", args.hc_eps, args.hc_eps >= 0, "at least 0");
  check.number("sinkhorn_iterations", args.sinkhorn_iterations, args.sinkhorn_iterations >= 1, "at least 1");
  check.tensor("d_streams", args.d_streams, {type}, {tokens, n, channels}, "like streams");
  if (!args.d_fn.absent()) check.tensor("d_fn", args.d_fn, {type}, {mixes, n * channels}, "like fn");
  if (!args.d_base.absent()) check.tensor("d_base", args.d_base, {type}, {mixes}, "like base");
  if (!args.d_scale.absent()) check.tensor("d_scale", args.d_scale, {type}, {3}, "like scale");
  const NamedView sources[] = {{"streams", streams},        {"fn", args.fn.codes},     {"base", args.base.codes},
                               {"scale", args.scale.codes}, {"d_input", args.d_input}, {"d_post", args.d_post},
                               {"d_comb", args.d_comb}};
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
  return run<HcPreBackward>(stream, args, check, tokens,
                            {{"streams", streams}, {"fn", args.fn.codes}, {"d_input", args.d_input}});
}

}  // namespace hadal::ops

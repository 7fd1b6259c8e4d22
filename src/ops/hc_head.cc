#include "ops/hc_head.h"

#include "ops/hc_checks.h"

namespace hadal::ops {
namespace {

HcOutputs outputs_for(const TensorView& streams) {
  return {.count = streams.extent(1),
          .fn_reason = "streams, streams * channels",
          .base_reason = "streams",
          .factors = 1,
          .scale_reason = "one factor"};
}

}  // namespace

Status hc_head(Stream& stream, const HcHead::Args& args) {
  const TensorView& streams = args.streams;
  const std::int64_t tokens = streams.extent(0);
  Checker check(stream, HcHead::name);
  check_hc_inputs(check, args, outputs_for(streams));
  check.tensor("out", args.out, {streams.type()}, {tokens, streams.extent(2)}, "tokens and channels of streams");
  check.separate("out", args.out,
                 {{"streams", streams}, {"fn", args.fn.codes}, {"base", args.base.codes}, {"scale", args.scale.codes}});
  return run<HcHead>(stream, args, check, tokens, {{"streams", streams}, {"fn", args.fn.codes}, {"out", args.out}});
}

Status hc_head_backward(Stream& stream, const HcHeadBackward::Args& args) {
  const TensorView& streams = args.streams;
  const std::int64_t tokens = streams.extent(0);
  Checker check(stream, HcHeadBackward::name);
  check_hc_inputs(check, args, outputs_for(streams));
  check.tensor("d_out", args.d_out, {streams.type()}, {tokens, streams.extent(2)}, "tokens and channels of streams");
  const NamedView d_outputs[] = {{"d_out", args.d_out}};
  check_hc_gradients(check, args, outputs_for(streams), d_outputs);
  return run<HcHeadBackward>(stream, args, check, tokens,
                             {{"streams", streams}, {"fn", args.fn.codes}, {"d_out", args.d_out}});
}

}  // namespace hadal::ops

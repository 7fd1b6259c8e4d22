#include "ops/hc_pre.h"

#include "ops/hc_checks.h"

namespace hadal::ops {
namespace {

HcOutputs outputs_for(const TensorView& streams) {
  const std::int64_t n = streams.extent(1);
  return {.count = (2 + n) * n,
          .fn_reason = "(2 + streams) * streams, streams * channels",
          .base_reason = "(2 + streams) * streams",
          .factors = 3,
          .scale_reason = "pre, post, comb"};
}

void check_iterations(Checker& check, std::int64_t iterations) {
  check.number("sinkhorn_iterations", iterations, iterations >= 1, "at least 1");
}

}  // namespace

Status hc_pre(Stream& stream, const HcPre::Args& args) {
  const TensorView& streams = args.streams;
  const TypeSet type{streams.type()};
  const std::int64_t tokens = streams.extent(0);
  const std::int64_t n = streams.extent(1);
  Checker check(stream, HcPre::name);
  check_hc_inputs(check, args, outputs_for(streams));
  check.tensor("input", args.input, type, {tokens, streams.extent(2)}, "tokens and channels of streams");
  check.tensor("post", args.post, type, {tokens, n}, "tokens and streams");
  check.tensor("comb", args.comb, type, {tokens, n, n}, "tokens and streams");
  check_iterations(check, args.sinkhorn_iterations);
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
  const TypeSet type{streams.type()};
  const std::int64_t tokens = streams.extent(0);
  const std::int64_t n = streams.extent(1);
  Checker check(stream, HcPreBackward::name);
  check_hc_inputs(check, args, outputs_for(streams));
  check.tensor("d_input", args.d_input, type, {tokens, streams.extent(2)}, "tokens and channels of streams");
  check.tensor("d_post", args.d_post, type, {tokens, n}, "tokens and streams");
  check.tensor("d_comb", args.d_comb, type, {tokens, n, n}, "tokens and streams");
  check_iterations(check, args.sinkhorn_iterations);
  const NamedView d_outputs[] = {{"d_input", args.d_input}, {"d_post", args.d_post}, {"d_comb", args.d_comb}};
  check_hc_gradients(check, args, outputs_for(streams), d_outputs);
  return run<HcPreBackward>(stream, args, check, tokens,
                            {{"streams", streams}, {"fn", args.fn.codes}, {"d_input", args.d_input}});
}

}  // namespace hadal::ops

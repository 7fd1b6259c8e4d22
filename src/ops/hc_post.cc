#include "ops/hc_post.h"

#include "ops/checks.h"

namespace hadal::ops {

Status hc_post(Stream& stream, const HcPost::Args& args) {
  const auto& [sublayer_output, post, comb, streams] = args;
  const std::int64_t tokens = streams.extent(0);
  const std::int64_t n = streams.extent(1);
  Checker check(stream, HcPost::name);
  check.source("streams", streams, kReal, 3, "[tokens, streams, channels]");
  check.tensor("sublayer_output", sublayer_output, {streams.type()}, {tokens, streams.extent(2)},
               "tokens and channels of streams");
  check.tensor("post", post, {streams.type()}, {tokens, n}, "tokens and streams");
  check.tensor("comb", comb, {streams.type()}, {tokens, n, n}, "tokens and streams");
  check.number("number of streams", n, n <= 8, "at most 8");
  check.separate("streams", streams, {{"sublayer_output", sublayer_output}, {"post", post}, {"comb", comb}});
  return run<HcPost>(stream, args, check, tokens, {{"sublayer_output", sublayer_output}, {"streams", streams}});
}

Status hc_post_backward(Stream& stream, const HcPostBackward::Args& args) {
  const TensorView& streams = args.streams;
  const DType type = streams.type();
  const std::int64_t tokens = streams.extent(0);
  const std::int64_t n = streams.extent(1);
  const std::int64_t channels = streams.extent(2);
  Checker check(stream, HcPostBackward::name);
  check.source("streams", streams, kReal, 3, "[tokens, streams, channels]");
  check.number("number of streams", n, n <= 8, "at most 8");
  check.tensor("sublayer_output", args.sublayer_output, {type}, {tokens, channels}, "tokens and channels of streams");
  check.tensor("post", args.post, {type}, {tokens, n}, "tokens and streams");
  check.tensor("comb", args.comb, {type}, {tokens, n, n}, "tokens and streams");
  check.tensor("d_streams_out", args.d_streams_out, {type}, {tokens, n, channels}, "like streams");
  check.tensor("d_sublayer_output", args.d_sublayer_output, {type}, {tokens, channels}, "like sublayer_output");
  check.tensor("d_post", args.d_post, {type}, {tokens, n}, "like post");
  check.tensor("d_comb", args.d_comb, {type}, {tokens, n, n}, "like comb");
  check.tensor("d_streams", args.d_streams, {type}, {tokens, n, channels}, "like streams");
  const NamedView sources[] = {
      {"sublayer_output", args.sublayer_output}, {"post", args.post}, {"comb", args.comb}, {"streams", streams}};
  for (const NamedView& source : sources) {
    check.separate("d_sublayer_output", args.d_sublayer_output, {source});
    check.separate("d_post", args.d_post, {source});
    check.separate("d_comb", args.d_comb, {source});
    check.separate("d_streams", args.d_streams, {source});
  }
  check.separate("d_streams", args.d_streams, {{"d_streams_out", args.d_streams_out, Sharing::kSameView}});
  const NamedView gradients[] = {{"d_streams_out", args.d_streams_out}, {"d_streams", args.d_streams}};
  for (const NamedView& gradient : gradients) {
    check.separate("d_sublayer_output", args.d_sublayer_output, {gradient});
    check.separate("d_post", args.d_post, {gradient});
    check.separate("d_comb", args.d_comb, {gradient});
  }
  check.separate("d_sublayer_output", args.d_sublayer_output, {{"d_post", args.d_post}, {"d_comb", args.d_comb}});
  check.separate("d_post", args.d_post, {{"d_comb", args.d_comb}});
  return run<HcPostBackward>(stream, args, check, tokens,
                             {{"sublayer_output", args.sublayer_output}, {"streams", streams}});
}

}  // namespace hadal::ops

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

}  // namespace hadal::ops

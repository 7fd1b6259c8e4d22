#include "backends/cpu/register.h"
#include "backends/cpu/work.h"
#include "ops/hc_post.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::HcPostBackward::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const TensorView& x = args.streams;
  const std::int64_t n = x.extent(1);
  const std::int64_t channels = x.extent(2);
  for_rows(backend.pool(), x.extent(0), n * channels, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t token = begin; token < end; ++token) {
      backend.kernels().hc_post_backward({.y = args.sublayer_output.row<float>(token),
                                          .post = args.post.row<float>(token),
                                          .comb = args.comb.row<float>(token),
                                          .streams = x.row<float>(token),
                                          .d_out = args.d_streams_out.row<float>(token),
                                          .n = n,
                                          .channels = channels,
                                          .d_y = args.d_sublayer_output.row<float>(token),
                                          .d_post = args.d_post.row<float>(token),
                                          .d_comb = args.d_comb.row<float>(token),
                                          .d_streams = args.d_streams.row<float>(token)});
    }
  });
}

}  // namespace

void add_hc_post_backward(ops::OpTable& table) {
  table.add<ops::HcPostBackward>(
      {.implementation = "cpu",
       .supports = [](const ops::HcPostBackward::Args& args) { return is_f32(args.streams); },
       .scratch_bytes = no_scratch<ops::HcPostBackward::Args>,
       .enqueue = enqueue});
}

}  // namespace hadal::cpu

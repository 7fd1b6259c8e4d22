#include "ops/hc_post.h"

#include "backends/cpu/hyper_connection.h"
#include "backends/cpu/register.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

void enqueue(ops::Stream& stream, const ops::HcPost::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const TensorView& x = args.streams;
  const std::int64_t n = x.extent(1);
  for_token_pieces(
      backend.pool(), x.extent(0), x.extent(2), n, [&](std::int64_t token, std::int64_t channel, std::int64_t count) {
        backend.kernels().hc_post(args.sublayer_output.row<float>(token) + channel, args.post.row<float>(token),
                                  args.comb.row<float>(token), n, x.row<float>(token) + channel, x.stride(1), count);
      });
}

}  // namespace

void add_hc_post(ops::OpTable& table) {
  table.add<ops::HcPost>({.implementation = "cpu",
                          .supports = [](const ops::HcPost::Args& args) { return is_f32(args.streams); },
                          .scratch_bytes = no_scratch<ops::HcPost::Args>,
                          .enqueue = enqueue});
}

}  // namespace hadal::cpu

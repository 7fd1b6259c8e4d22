#include "backends/cpu/hyper_connection_backward.h"
#include "backends/cpu/register.h"
#include "backends/cpu/work.h"
#include "ops/hc_pre.h"

namespace hadal::cpu {
namespace {

MixSite site_of(const ops::HcPreBackward::Args& args) {
  return {.streams = args.streams,
          .fn = args.fn,
          .base = args.base,
          .scale = args.scale,
          .d_out = args.d_input,
          .d_post = args.d_post,
          .d_comb = args.d_comb,
          .norm_eps = args.norm_eps,
          .hc_eps = args.hc_eps,
          .iterations = args.sinkhorn_iterations,
          .add_streams = true,
          .d_streams = args.d_streams,
          .d_fn = args.d_fn,
          .d_base = args.d_base,
          .d_scale = args.d_scale};
}

}  // namespace

void add_hc_pre_backward(ops::OpTable& table) {
  table.add<ops::HcPreBackward>(
      {.implementation = "cpu",
       .supports = [](const ops::HcPreBackward::Args& args) { return is_f32(args.streams); },
       .scratch_bytes =
           [](const ops::Backend& backend, const ops::HcPreBackward::Args& args) {
             return mix_backward_scratch(backend, site_of(args));
           },
       .enqueue = [](ops::Stream& stream,
                     const ops::HcPreBackward::Args& args) { mix_backward(stream, site_of(args)); }});
}

}  // namespace hadal::cpu

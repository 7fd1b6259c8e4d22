#pragma once

#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>

#include "ops/checks.h"

namespace hadal::ops {

/// What an operator derives from a token's streams, and how messages explain the shapes of its constants.
struct HcOutputs {
  std::int64_t count;  // rows of fn and values of base
  std::string_view fn_reason;
  std::string_view base_reason;
  std::int64_t factors;  // values of scale
  std::string_view scale_reason;
};

/// Checks what the arguments of hc_pre, hc_head and their gradients have in common: streams [T, n, D], the constants,
/// the epsilons.
template <class Args>
void check_hc_inputs(Checker& check, const Args& args, const HcOutputs& outputs) {
  const std::int64_t n = args.streams.extent(1);
  constexpr TypeSet kF32{DType::kF32};
  check.source("streams", args.streams, kReal, 3, "[tokens, streams, channels]");
  check.number("number of streams", n, n <= 8, "at most 8");
  check.constant("fn", args.fn, kF32, {outputs.count, n * args.streams.extent(2)}, outputs.fn_reason);
  check.constant("base", args.base, kF32, {outputs.count}, outputs.base_reason);
  check.constant("scale", args.scale, kF32, {outputs.factors}, outputs.scale_reason);
  check.number("norm_eps", args.norm_eps, args.norm_eps >= 0, "at least 0");
  check.number("hc_eps", args.hc_eps, args.hc_eps >= 0, "at least 0");
}

/// Checks the gradients that hc_pre_backward and hc_head_backward write: d_streams and, where wanted, those of the
/// constants; `d_outputs` are the gradients that they read.
template <class Args>
void check_hc_gradients(Checker& check, const Args& args, const HcOutputs& outputs,
                        std::span<const NamedView> d_outputs) {
  const TensorView& streams = args.streams;
  const TypeSet type{streams.type()};
  const std::int64_t n = streams.extent(1);
  check.tensor("d_streams", args.d_streams, type, {streams.extent(0), n, streams.extent(2)}, "like streams");
  if (!args.d_fn.absent()) check.tensor("d_fn", args.d_fn, type, {outputs.count, n * streams.extent(2)}, "like fn");
  if (!args.d_base.absent()) check.tensor("d_base", args.d_base, type, {outputs.count}, "like base");
  if (!args.d_scale.absent()) check.tensor("d_scale", args.d_scale, type, {outputs.factors}, "like scale");
  const NamedView written[] = {
      {"d_streams", args.d_streams}, {"d_fn", args.d_fn}, {"d_base", args.d_base}, {"d_scale", args.d_scale}};
  for (std::size_t i = 0; i < std::size(written); ++i) {
    const auto& [name, view, sharing] = written[i];
    check.separate(
        name, view,
        {{"streams", streams}, {"fn", args.fn.codes}, {"base", args.base.codes}, {"scale", args.scale.codes}});
    for (const NamedView& d_output : d_outputs) check.separate(name, view, {d_output});
    for (std::size_t other = i + 1; other < std::size(written); ++other) check.separate(name, view, {written[other]});
  }
}

}  // namespace hadal::ops

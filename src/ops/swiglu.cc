#include "ops/swiglu.h"

#include "ops/checks.h"

namespace hadal::ops {

Status swiglu(Stream& stream, const Swiglu::Args& args) {
  const auto& [gate, up, limit, out] = args;
  Checker check(stream, Swiglu::name);
  check.source("gate", gate, kReal, 2, "[tokens, channels]");
  check.tensor("up", up, {gate.type()}, gate.shape(), "like gate");
  check.tensor("out", out, kRealOrBf16, gate.shape(), "like gate");
  check.number("limit", limit, limit >= 0, "at least 0");
  check.separate("out", out, {{"gate", gate, Sharing::kSameView}, {"up", up}});
  return run<Swiglu>(stream, args, check, gate.extent(0), {{"gate", gate}, {"out", out}});
}

Status swiglu_backward(Stream& stream, const SwigluBackward::Args& args) {
  const auto& [gate, up, limit, d_out, d_gate, d_up] = args;
  const NamedView inputs[] = {
      {"gate", gate, Sharing::kSameView}, {"up", up, Sharing::kSameView}, {"d_out", d_out, Sharing::kSameView}};
  Checker check(stream, SwigluBackward::name);
  check.source("gate", gate, kReal, 2, "[tokens, channels]");
  check.tensor("up", up, {gate.type()}, gate.shape(), "like gate");
  check.number("limit", limit, limit >= 0, "at least 0");
  check.tensor("d_out", d_out, {gate.type()}, gate.shape(), "like gate");
  check.tensor("d_gate", d_gate, {gate.type()}, gate.shape(), "like gate");
  check.tensor("d_up", d_up, {gate.type()}, gate.shape(), "like gate");
  check.separate("d_gate", d_gate, {inputs[0], inputs[1], inputs[2], {"d_up", d_up}});
  check.separate("d_up", d_up, {inputs[0], inputs[1], inputs[2]});
  return run<SwigluBackward>(stream, args, check, gate.extent(0), {{"gate", gate}, {"d_out", d_out}});
}

}  // namespace hadal::ops

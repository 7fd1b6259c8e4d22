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

}  // namespace hadal::ops

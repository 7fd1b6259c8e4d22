#include "ops/hadamard.h"

#include "ops/checks.h"

namespace hadal::ops {

Status hadamard(Stream& stream, const Hadamard::Args& args) {
  const TensorView& x = args.x;
  const std::int64_t channels = x.extent(1);
  Checker check(stream, Hadamard::name);
  check.source("x", x, kReal, 2, "[rows, channels]");
  check.number("number of channels", channels, (channels & (channels - 1)) == 0, "a power of two");
  return run<Hadamard>(stream, args, check, x.extent(0), {{"x", x}});
}

}  // namespace hadal::ops

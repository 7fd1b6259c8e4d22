#include <algorithm>
#include <limits>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"
#include "ops/swiglu.h"

namespace hadal::cpu {
namespace {

using Args = ops::SwigluBackward::Args;

void enqueue(ops::Stream& stream, const Args& args) {
  CpuBackend& backend = backend_of(stream);
  const float limit = args.limit > 0 ? static_cast<float>(args.limit) : std::numeric_limits<float>::infinity();
  const std::int64_t elements = args.gate.elements();
  // Pieces of all rows alike: every lane is computed by itself, and the kernel's sum is not wanted.
  backend.pool().parallel_for(elements, kElementsPerFork / 4, [&](std::int64_t begin, std::int64_t end, int) {
    backend.kernels().swiglu_backward(args.gate.as<float>() + begin, args.up.as<float>() + begin, limit, 1.0F,
                                      args.d_out.as<float>() + begin, args.d_gate.as<float>() + begin,
                                      args.d_up.as<float>() + begin, nullptr, end - begin);
  });
}

}  // namespace

void add_swiglu_backward(ops::OpTable& table) {
  table.add<ops::SwigluBackward>({.implementation = "cpu",
                                  .supports = [](const Args& args) { return is_f32(args.gate); },
                                  .scratch_bytes = no_scratch<Args>,
                                  .enqueue = enqueue});
}

}  // namespace hadal::cpu

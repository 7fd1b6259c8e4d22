#pragma once

#include "ops/grouped_linear.h"
#include "ops/reference/linear.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const GroupedLinear::Args& args) {
  return any_f64({args.input.type(), args.out.type()});
}

[[nodiscard]] inline std::int64_t scratch_bytes(const GroupedLinear::Args& args) {
  return padded_bytes<double>(args.weight.columns());
}

template <class T>
void grouped_linear(const GroupedLinear::Args& args, Scratch scratch) {
  const std::int64_t outputs = args.weight.rows() / args.groups;
  T* decoded = scratch.take<T>(args.weight.columns());
  for (std::int64_t group = 0; group < args.groups; ++group) {
    multiply(args.input, group * args.weight.columns(), args.weight, group * outputs, outputs, args.out,
             group * outputs, decoded);
  }
}

}  // namespace hadal::ops::reference

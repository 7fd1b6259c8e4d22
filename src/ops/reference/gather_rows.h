#pragma once

#include "ops/gather_rows.h"
#include "ops/reference/elements.h"
#include "ops/reference/scratch.h"

namespace hadal::ops::reference {

[[nodiscard]] inline bool uses_f64(const GatherRows::Args& args) {
  return any_f64({args.input.type(), args.out.type()});
}

template <class T>
void gather_rows(const GatherRows::Args& args, Scratch) {
  for (std::int64_t row = 0; row < args.out.extent(0); ++row) {
    const std::int64_t in = offset_of(args.input, args.index.as<std::int32_t>()[row]);
    const std::int64_t out = offset_of(args.out, row);
    for (std::int64_t c = 0; c < args.out.extent(1); ++c) store(args.out, out + c, load<T>(args.input, in + c));
  }
}

[[nodiscard]] inline bool uses_f64(const GatherRowsBackward::Args& args) { return any_f64({args.d_input.type()}); }

template <class T>
void gather_rows_backward(const GatherRowsBackward::Args& args, Scratch) {
  const std::int64_t channels = args.d_input.extent(1);
  for (std::int64_t row = 0; row < args.d_input.extent(0); ++row) {
    for (std::int64_t c = 0; c < channels; ++c) store(args.d_input, offset_of(args.d_input, row) + c, T{0});
  }
  for (std::int64_t row = 0; row < args.index.extent(0); ++row) {
    const std::int64_t in = offset_of(args.d_input, args.index.as<std::int32_t>()[row]);
    const std::int64_t out = offset_of(args.d_out, row);
    for (std::int64_t c = 0; c < channels; ++c) {
      store(args.d_input, in + c, load<T>(args.d_input, in + c) + load<T>(args.d_out, out + c));
    }
  }
}

}  // namespace hadal::ops::reference

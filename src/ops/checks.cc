#include "ops/checks.h"

#include <fmt/core.h>

#include <functional>

namespace hadal::ops {
namespace {

constexpr std::int64_t ceil_div(std::int64_t value, std::int64_t divisor) { return (value + divisor - 1) / divisor; }

bool has_layout(const TensorView& view, Layout layout) {
  if (view.elements() == 0 || view.contiguous()) return true;
  if (layout == Layout::kContiguous) return false;
  std::int64_t stride = 1;
  for (int i = view.rank() - 1; i > 0; --i) {
    if (view.extent(i) != 1 && view.stride(i) != stride) return false;
    stride *= view.extent(i);
  }
  return view.stride(0) >= stride;
}

std::string strides(const TensorView& view) {
  std::string text = "[";
  for (int i = 0; i < view.rank(); ++i) text += fmt::format("{}{}", i == 0 ? "" : ", ", view.stride(i));
  return text + "]";
}

/// Bytes of one index of the outermost dimension, and from one such index to the next.
struct Rows {
  std::int64_t width;
  std::int64_t pitch;
};

Rows rows_of(const TensorView& view) {
  std::int64_t width = size_of(view.type());
  for (int i = 1; i < view.rank(); ++i) width *= view.extent(i);
  return {.width = width, .pitch = view.stride(0) * size_of(view.type())};
}

bool overlap(const TensorView& a, const TensorView& b) {
  if (a.bytes() == nullptr || b.bytes() == nullptr || a.elements() == 0 || b.elements() == 0) return false;
  const Rows rows_a = rows_of(a);
  const Rows rows_b = rows_of(b);
  const std::byte* end_a = a.bytes() + (a.extent(0) - 1) * rows_a.pitch + rows_a.width;
  const std::byte* end_b = b.bytes() + (b.extent(0) - 1) * rows_b.pitch + rows_b.width;
  const std::less<> before;  // a total order also over pointers into different objects
  if (!before(a.bytes(), end_b) || !before(b.bytes(), end_a)) return false;
  // Columns of one matrix: the spans cross, the rows do not. A single row fits any pitch.
  if (rows_a.pitch != rows_b.pitch && a.extent(0) != 1 && b.extent(0) != 1) return true;
  const std::int64_t pitch = a.extent(0) == 1 ? rows_b.pitch : rows_a.pitch;
  const std::int64_t offset = ((a.bytes() - b.bytes()) % pitch + pitch) % pitch;
  return offset < rows_b.width || offset + rows_a.width > pitch;
}

bool same_view(const TensorView& a, const TensorView& b) {
  if (a.bytes() != b.bytes() || a.type() != b.type() || !(a.shape() == b.shape())) return false;
  return a.extent(0) <= 1 || a.stride(0) == b.stride(0);
}

}  // namespace

std::string to_string(TypeSet types) {
  constexpr DType kAll[] = {DType::kF32,    DType::kF64, DType::kBf16, DType::kE4m3, DType::kE8m0,
                            DType::kE2m1x2, DType::kI8,  DType::kI32,  DType::kI64};
  std::string text;
  std::string_view last;
  for (const DType type : kAll) {
    if (!types.contains(type)) continue;
    if (!last.empty()) text += fmt::format("{}{}", text.empty() ? "" : ", ", last);
    last = name(type);
  }
  return text.empty() ? std::string(last) : fmt::format("{} or {}", text, last);
}

std::string describe(std::initializer_list<NamedView> views) {
  std::string text;
  for (const NamedView& named : views) {
    if (named.view.absent()) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", named.name, to_string(named.view));
  }
  return text;
}

void Checker::report(std::string_view arg, std::string_view text) {
  message_ = fmt::format("{}: {} {}", op_, arg, text);
}

void Checker::common(std::string_view arg, const TensorView& view, TypeSet types, Layout layout) {
  if (!types.contains(view.type())) {
    report(arg, fmt::format("has type {}, expected {}", name(view.type()), to_string(types)));
  } else if (!has_layout(view, layout)) {
    report(arg, fmt::format("of shape {} has strides {}, expected {}", to_string(view.shape()), strides(view),
                            layout == Layout::kContiguous ? "contiguous memory" : "contiguous rows that lie apart"));
  } else if (needs_memory_ && view.bytes() == nullptr && view.elements() != 0) {
    report(arg, "has no memory, expected an address (only a planning stream takes views without)");
  }
}

void Checker::source(std::string_view arg, const TensorView& view, TypeSet types, int rank, std::string_view dimensions,
                     Layout layout) {
  if (!ok()) return;
  if (view.absent()) return report(arg, fmt::format("is absent, expected {}", dimensions));
  bool fits = view.rank() == rank && view.extent(0) >= 0;
  for (int i = 1; i < view.rank(); ++i) fits = fits && view.extent(i) >= 1;
  if (!fits) {
    const std::string_view positive = view.rank() == rank ? " with positive inner extents" : "";
    return report(arg, fmt::format("has shape {}, expected {}{}", to_string(view.shape()), dimensions, positive));
  }
  common(arg, view, types, layout);
}

void Checker::tensor(std::string_view arg, const TensorView& view, TypeSet types, const Shape& expected,
                     std::string_view reason, Layout layout) {
  if (!ok()) return;
  if (view.absent()) return report(arg, fmt::format("is absent, expected {} ({})", to_string(expected), reason));
  if (!(view.shape() == expected)) {
    return report(arg,
                  fmt::format("has shape {}, expected {} ({})", to_string(view.shape()), to_string(expected), reason));
  }
  common(arg, view, types, layout);
}

void Checker::constant(std::string_view arg, const Weight& weight, TypeSet types, const Shape& expected,
                       std::string_view reason) {
  tensor(arg, weight.codes, types, expected, reason);
  if (ok() && !weight.scales.absent()) {
    report(arg, fmt::format("of type {} has scales {}, expected none", name(weight.codes.type()),
                            to_string(weight.scales.shape())));
  }
}

void Checker::matrix(std::string_view arg, const Weight& weight, std::int64_t rows, std::int64_t columns,
                     std::string_view reason) {
  if (!ok()) return;
  constexpr TypeSet kTypes{DType::kF32, DType::kBf16, DType::kE4m3, DType::kE2m1x2};
  const DType type = weight.codes.type();
  if (type == DType::kE4m3) {
    tensor(arg, weight.codes, kTypes, {rows, columns}, reason);
    if (!ok()) return;
    const Shape tiles{ceil_div(rows, kFp8Tile), ceil_div(columns, kFp8Tile)};
    if (weight.scales.absent() || !(weight.scales.shape() == tiles)) {
      return report(arg, fmt::format("has scales {}, expected {} (tiles of 128 x 128)",
                                     to_string(weight.scales.shape()), to_string(tiles)));
    }
    return common(arg, weight.scales, {DType::kE8m0, DType::kF32}, Layout::kContiguous);
  }
  if (type == DType::kE2m1x2) {
    if (columns % kFp4Block != 0) {
      return report(arg, fmt::format("has {} columns, expected a multiple of {} (fp4)", columns, kFp4Block));
    }
    tensor(arg, weight.codes, kTypes, {rows, columns / 2}, reason);
    if (!ok()) return;
    const Shape blocks{rows, columns / kFp4Block};
    if (weight.scales.absent() || !(weight.scales.shape() == blocks)) {
      return report(arg, fmt::format("has scales {}, expected {} (blocks of 32 columns)",
                                     to_string(weight.scales.shape()), to_string(blocks)));
    }
    return common(arg, weight.scales, {DType::kE8m0}, Layout::kContiguous);
  }
  constant(arg, weight, kTypes, {rows, columns}, reason);
}

void Checker::absent(std::string_view arg, const TensorView& view, std::string_view reason) {
  if (ok() && !view.absent()) {
    report(arg, fmt::format("has shape {}, expected none ({})", to_string(view.shape()), reason));
  }
}

void Checker::number(std::string_view arg, std::int64_t value, bool holds, std::string_view expected) {
  if (ok() && !holds) report(arg, fmt::format("is {}, expected {}", value, expected));
}

void Checker::number(std::string_view arg, double value, bool holds, std::string_view expected) {
  if (ok() && !holds) report(arg, fmt::format("is {}, expected {}", value, expected));
}

void Checker::ratio(std::int64_t value) {
  number("ratio", value, value >= 1 && kPageTokens % value == 0, "a positive divisor of 128");
}

void Checker::rows_of_step(const StepLayout& layout, std::int64_t tokens) {
  tensor("layout.positions", layout.positions, {DType::kI64}, {tokens}, "rows of the step");
  tensor("layout.sequence", layout.sequence, {DType::kI32}, {tokens}, "rows of the step");
}

void Checker::rings_of_step(const StepLayout& layout, std::int64_t sequences) {
  tensor("layout.first_row", layout.first_row, {DType::kI32}, {sequences}, "sequences of the step");
  tensor("layout.start", layout.start, {DType::kI64}, {sequences}, "sequences of the step");
  tensor("layout.state_slot", layout.state_slot, {DType::kI32}, {sequences}, "sequences of the step");
}

void Checker::pages_of_step(const StepLayout& layout, std::int64_t sequences) {
  source("layout.page_table", layout.page_table, {DType::kI32}, 2, "[sequences, pages]");
  tensor("layout.page_table", layout.page_table, {DType::kI32}, {sequences, layout.page_table.extent(1)},
         "sequences of the step");
}

void Checker::separate(std::string_view arg, const TensorView& out, std::initializer_list<NamedView> inputs) {
  if (!ok()) return;
  for (const NamedView& input : inputs) {
    if (!overlap(out, input.view)) continue;
    const bool may_share = input.sharing == Sharing::kSameView;
    if (may_share && same_view(out, input.view)) continue;
    return report(arg, fmt::format("overlaps {}, expected separate memory{}", input.name,
                                   may_share ? " or exactly the same view" : ""));
  }
}

}  // namespace hadal::ops

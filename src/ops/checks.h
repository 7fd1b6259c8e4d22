#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ops/backend.h"
#include "ops/step_layout.h"
#include "ops/weight.h"
#include "tensor/tensor.h"

namespace hadal::ops {

/// A set of element types.
class TypeSet {
 public:
  constexpr TypeSet(std::initializer_list<DType> types) {
    for (const DType type : types) bits_ |= bit(type);
  }
  [[nodiscard]] constexpr bool contains(DType type) const { return (bits_ & bit(type)) != 0; }

 private:
  static constexpr std::uint32_t bit(DType type) { return std::uint32_t{1} << static_cast<unsigned>(type); }
  std::uint32_t bits_ = 0;
};

/// "f32, f64 or bf16".
[[nodiscard]] std::string to_string(TypeSet types);

inline constexpr TypeSet kReal{DType::kF32, DType::kF64};
inline constexpr TypeSet kRealOrBf16{DType::kF32, DType::kF64, DType::kBf16};
inline constexpr TypeSet kF32OrBf16{DType::kF32, DType::kBf16};

/// The type of sums over products of inputs of `type`: f64 for f64, f32 for f32 and bf16.
[[nodiscard]] constexpr DType sum_type(DType type) { return type == DType::kF64 ? DType::kF64 : DType::kF32; }

/// What the strides of an argument may be.
enum class Layout : std::uint8_t {
  kContiguous,
  kStridedRows,  // each index of the outermost dimension is one contiguous piece; the pieces lie apart in order
};

/// How an output may share memory with an input.
enum class Sharing : std::uint8_t {
  kNone,
  kSameView,  // separate memory, or exactly the same elements in the same places
};

/// An input of which an output must stay clear.
struct NamedView {
  std::string_view name;
  const TensorView& view;
  Sharing sharing = Sharing::kNone;
};

/// Checks the arguments of one operator call and keeps the first violation as "operator: argument, got, expected".
/// Allocates nothing while all is well. Extents of dimensions that a view does not have read as 0, so a caller may
/// take all extents first and then check. On a stream that plans, views need no memory.
class Checker {
 public:
  Checker(const Stream& stream, std::string_view op) : op_(op), needs_memory_(stream.plan() == nullptr) {}

  /// An argument that defines extents: any non-negative first extent, the others at least 1. `dimensions` names them:
  /// "[rows, channels]".
  void source(std::string_view arg, const TensorView& view, TypeSet types, int rank, std::string_view dimensions,
              Layout layout = Layout::kContiguous);
  /// An argument whose shape follows from others; `reason` says from which.
  void tensor(std::string_view arg, const TensorView& view, TypeSet types, const Shape& expected,
              std::string_view reason, Layout layout = Layout::kContiguous);
  /// A constant without scales.
  void constant(std::string_view arg, const Weight& weight, TypeSet types, const Shape& expected,
                std::string_view reason);
  /// A matrix of a linear map in any of the official layouts (see Weight), with its scales.
  void matrix(std::string_view arg, const Weight& weight, std::int64_t rows, std::int64_t columns,
              std::string_view reason);
  /// An optional argument that this call must not have.
  void absent(std::string_view arg, const TensorView& view, std::string_view reason);
  /// A number; `expected` is a phrase such as "at least 1".
  void number(std::string_view arg, std::int64_t value, bool holds, std::string_view expected);
  void number(std::string_view arg, double value, bool holds, std::string_view expected);
  /// A ratio of compressed entries: a positive divisor of a page.
  void ratio(std::int64_t value);
  /// Row order and places of a step's sequences: positions and sequence for `tokens` rows.
  void rows_of_step(const StepLayout& layout, std::int64_t tokens);
  /// Where the committed rings of the layout's sequences lie: first_row, start, state_slot of one length.
  void rings_of_step(const StepLayout& layout, std::int64_t sequences);
  /// The layout's page table for `sequences` sequences.
  void pages_of_step(const StepLayout& layout, std::int64_t sequences);
  /// `out` must not overlap the inputs, but as their `sharing` allows.
  void separate(std::string_view arg, const TensorView& out, std::initializer_list<NamedView> inputs);

  [[nodiscard]] bool ok() const { return message_.empty(); }
  /// The first violation. Only when !ok().
  [[nodiscard]] tl::unexpected<Error> error() { return fail(ErrorCode::kInvalidArgument, std::move(message_)); }

 private:
  void common(std::string_view arg, const TensorView& view, TypeSet types, Layout layout);
  [[gnu::cold, gnu::noinline]] void report(std::string_view arg, std::string_view text);

  std::string_view op_;
  bool needs_memory_;
  std::string message_;
};

/// "input bf16 [3, 128], out f32 [3, 64]".
[[nodiscard]] std::string describe(std::initializer_list<NamedView> views);

/// Ends a free function: the checker's error; or Ok without work when `rows` is 0 (a planning stream still takes note);
/// or dispatch.
template <class Op>
[[nodiscard]] Status run(Stream& stream, const typename Op::Args& args, Checker& check, std::int64_t rows,
                         std::initializer_list<NamedView> described) {
  if (!check.ok()) return check.error();
  if (rows == 0 && stream.plan() == nullptr) return {};
  return dispatch<Op>(stream, args, rows, [&] { return describe(described); });
}

}  // namespace hadal::ops

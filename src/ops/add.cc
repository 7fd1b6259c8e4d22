#include "ops/add.h"

#include "ops/checks.h"

namespace hadal::ops {

Status add(Stream& stream, const Add::Args& args) {
  const auto& [a, b, repeat, out] = args;
  const std::int64_t rows = a.extent(0);
  Checker check(stream, Add::name);
  check.source("a", a, kReal, 2, "[rows, channels]", Layout::kStridedRows);
  check.number("repeat", repeat, repeat >= 1 && rows % repeat == 0, "a positive divisor of the rows of a");
  if (check.ok()) {
    check.tensor("b", b, {a.type()}, {rows / repeat, a.extent(1)}, "rows of a / repeat, channels of a",
                 Layout::kStridedRows);
  }
  check.tensor("out", out, {a.type()}, a.shape(), "like a", Layout::kStridedRows);
  check.separate("out", out, {{"a", a, Sharing::kSameView}, {"b", b}});
  return run<Add>(stream, args, check, rows, {{"a", a}, {"b", b}, {"out", out}});
}

}  // namespace hadal::ops

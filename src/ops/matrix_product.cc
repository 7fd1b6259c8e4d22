#include "ops/matrix_product.h"

#include "ops/checks.h"

namespace hadal::ops {

MatrixProductExtents::MatrixProductExtents(const MatrixProduct::Args& args) {
  const int first = args.a.rank() - 2;  // the matrix's own dimensions come last
  batch = first > 0 ? args.a.extent(0) : 1;
  m = args.a.extent(first + (args.transpose_a ? 1 : 0));
  k = args.a.extent(first + (args.transpose_a ? 0 : 1));
  n = args.b.extent(first + (args.transpose_b ? 0 : 1));
}

Status matrix_product(Stream& stream, const MatrixProduct::Args& args) {
  const TensorView& a = args.a;
  const TensorView& b = args.b;
  const TensorView& out = args.out;
  Checker check(stream, MatrixProduct::name);
  const bool batched = a.rank() == 3;
  check.source("a", a, kRealOrBf16, batched ? 3 : 2, "[rows, columns] or [matrices, rows, columns]");
  check.source("b", b, {a.type()}, batched ? 3 : 2, "[rows, columns] or [matrices, rows, columns], like a");
  if (!check.ok()) return check.error();
  const MatrixProductExtents extents(args);
  const auto& [batch, m, n, k] = extents;
  const std::int64_t b_rows = args.transpose_b ? n : k;
  const std::int64_t b_columns = args.transpose_b ? k : n;
  check.number("inner extent of a", k, k >= 1, "at least 1");
  check.tensor("b", b, {a.type()}, batched ? Shape{batch, b_rows, b_columns} : Shape{b_rows, b_columns},
               "inner extent and number of a");
  check.tensor("out", out, {sum_type(a.type())}, batched ? Shape{batch, m, n} : Shape{m, n}, "rows of a, columns of b");
  check.separate("out", out, {{"a", a}, {"b", b}});
  return run<MatrixProduct>(stream, args, check, batch * m * n, {{"a", a}, {"b", b}, {"out", out}});
}

}  // namespace hadal::ops

#include "ops/embedding.h"

#include "ops/checks.h"

namespace hadal::ops {

Status embedding(Stream& stream, const Embedding::Args& args) {
  const auto& [tokens, table, out] = args;
  const std::int64_t rows = tokens.extent(0);
  const std::int64_t channels = table.codes.extent(1);
  Checker check(stream, Embedding::name);
  check.source("tokens", tokens, {DType::kI64}, 1, "[tokens]");
  check.source("table", table.codes, kF32OrBf16, 2, "[vocabulary, channels]");
  check.constant("table", table, kF32OrBf16, {table.codes.extent(0), channels}, "vocabulary and channels");
  check.source("out", out, kRealOrBf16, 3, "[tokens, streams, channels]");
  check.tensor("out", out, kRealOrBf16, {rows, out.extent(1), channels}, "tokens and channels of the table");
  check.separate("out", out, {{"tokens", tokens}, {"table", table.codes}});
  return run<Embedding>(stream, args, check, rows, {{"tokens", tokens}, {"table", table.codes}, {"out", out}});
}

}  // namespace hadal::ops

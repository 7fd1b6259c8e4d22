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

Status embedding_backward(Stream& stream, const EmbeddingBackward::Args& args) {
  const auto& [tokens, d_out, d_table] = args;
  Checker check(stream, EmbeddingBackward::name);
  check.source("tokens", tokens, {DType::kI64}, 1, "[tokens]");
  check.source("d_out", d_out, kReal, 3, "[tokens, streams, channels]");
  check.tensor("d_out", d_out, kReal, {tokens.extent(0), d_out.extent(1), d_out.extent(2)}, "tokens");
  check.source("d_table", d_table, {d_out.type()}, 2, "[vocabulary, channels]");
  check.tensor("d_table", d_table, {d_out.type()}, {d_table.extent(0), d_out.extent(2)}, "channels of d_out");
  check.separate("d_table", d_table, {{"tokens", tokens}, {"d_out", d_out}});
  return run<EmbeddingBackward>(stream, args, check, tokens.extent(0),
                                {{"tokens", tokens}, {"d_out", d_out}, {"d_table", d_table}});
}

}  // namespace hadal::ops

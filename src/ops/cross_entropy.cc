#include "ops/cross_entropy.h"

#include "ops/checks.h"

namespace hadal::ops {

Status cross_entropy(Stream& stream, const CrossEntropy::Args& args) {
  const auto& [logits, targets, weight, loss, d_logits] = args;
  const std::int64_t rows = logits.extent(0);
  Checker check(stream, CrossEntropy::name);
  check.source("logits", logits, kReal, 2, "[rows, vocabulary]");
  check.tensor("targets", targets, {DType::kI32}, {rows}, "rows of logits");
  check.tensor("loss", loss, {logits.type()}, {rows}, "rows of logits");
  check.separate("loss", loss, {{"logits", logits}, {"targets", targets}});
  if (!d_logits.absent()) {
    check.tensor("d_logits", d_logits, {logits.type()}, {rows, logits.extent(1)}, "like logits");
    check.separate("d_logits", d_logits,
                   {{"logits", logits, Sharing::kSameView}, {"targets", targets}, {"loss", loss}});
  }
  return run<CrossEntropy>(stream, args, check, rows, {{"logits", logits}, {"loss", loss}});
}

}  // namespace hadal::ops

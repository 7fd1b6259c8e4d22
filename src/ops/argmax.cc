#include "ops/argmax.h"

#include "ops/checks.h"

namespace hadal::ops {

Status argmax(Stream& stream, const Argmax::Args& args) {
  const auto& [logits, out] = args;
  Checker check(stream, Argmax::name);
  check.source("logits", logits, kReal, 2, "[rows, vocabulary]");
  check.tensor("out", out, {DType::kI64}, {logits.extent(0)}, "rows of logits");
  check.separate("out", out, {{"logits", logits}});
  return run<Argmax>(stream, args, check, logits.extent(0), {{"logits", logits}, {"out", out}});
}

}  // namespace hadal::ops

#include "ops/commit_rows.h"

#include "ops/checks.h"

namespace hadal::ops {

Status commit_rows(Stream& stream, const CommitRows::Args& args) {
  const TensorView& rows = args.rows;
  const TensorView& ring = args.ring;
  const std::int64_t sequences = args.count.extent(0);
  Checker check(stream, CommitRows::name);
  check.source("rows", rows, kRealOrBf16, 2, "[rows, channels]");
  check.source("ring", ring, {rows.type()}, 3, "[slots, ring rows, channels]", Layout::kStridedRows);
  check.tensor("ring", ring, {rows.type()}, {ring.extent(0), ring.extent(1), rows.extent(1)}, "channels of rows",
               Layout::kStridedRows);
  check.source("count", args.count, {DType::kI32}, 1, "[sequences]");
  check.rings_of_step(args.layout, sequences);
  check.separate("ring", ring, {{"rows", rows}, {"count", args.count}});
  const std::int64_t work = rows.extent(0) == 0 ? 0 : sequences;
  return run<CommitRows>(stream, args, check, work, {{"rows", rows}, {"ring", ring}});
}

}  // namespace hadal::ops

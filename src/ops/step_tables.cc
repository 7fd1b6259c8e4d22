#include "ops/step_tables.h"

#include <algorithm>

#include "base/check.h"
#include "tensor/arena.h"

namespace hadal::ops {
namespace {

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<std::int32_t>() {
  return DType::kI32;
}
template <>
constexpr DType dtype_of<std::int64_t>() {
  return DType::kI64;
}

/// Blocks of `ratio` tokens that end in [start, start + count), positions below 0 not counted.
std::int64_t blocks_ending_in(std::int64_t start, std::int64_t count, std::int64_t ratio) {
  return (start + count) / ratio - start / ratio;
}

}  // namespace

std::int64_t StepTableBuilder::bytes(const Limits& limits) {
  const std::int64_t blocks4 = limits.rows / 4 + limits.sequences;
  const std::int64_t blocks128 = limits.rows / 128 + limits.sequences;
  return 4 * aligned(8 * limits.rows) + aligned(4 * limits.rows) + 2 * aligned(4 * limits.sequences) +
         aligned(8 * limits.sequences) + aligned(4 * limits.sequences * limits.pages) + aligned(4 * blocks4) +
         aligned(8 * blocks4) + aligned(4 * blocks128) + aligned(8 * blocks128) + aligned(4 * limits.logits_rows);
}

StepTableBuilder::StepTableBuilder(const Limits& limits, std::byte* device)
    : host_(static_cast<std::size_t>(bytes(limits))), device_(device) {}

template <class T>
T* StepTableBuilder::add(TensorView& view, Shape shape) {
  const std::int64_t begin = used_;
  used_ += aligned(shape.elements() * static_cast<std::int64_t>(sizeof(T)));
  HADAL_CHECK(used_ <= static_cast<std::int64_t>(host_.size()), "a step is larger than its tables were made for");
  view = TensorView(device_ == nullptr ? nullptr : device_ + begin, dtype_of<T>(), shape);
  return TensorView(host_.data() + begin, dtype_of<T>(), shape).template as<T>();
}

StepTableBuilder::HostTables StepTableBuilder::lay_out(StepTables& tables, std::int64_t pages,
                                                       std::int64_t logits_rows) {
  used_ = 0;
  const Shape rows{tables.rows};
  const Shape sequences{tables.sequences};
  const Shape blocks4{tables.blocks4.count};
  const Shape blocks128{tables.blocks128.count};
  return {.tokens = add<std::int64_t>(tables.tokens, rows),
          .positions = add<std::int64_t>(tables.layout.positions, rows),
          .window_begin = add<std::int64_t>(tables.window_begin, rows),
          .window_end = add<std::int64_t>(tables.window_end, rows),
          .sequence = add<std::int32_t>(tables.layout.sequence, rows),
          .first_row = add<std::int32_t>(tables.layout.first_row, sequences),
          .start = add<std::int64_t>(tables.layout.start, sequences),
          .state_slot = add<std::int32_t>(tables.layout.state_slot, sequences),
          .page_table = add<std::int32_t>(tables.layout.page_table, {tables.sequences, pages}),
          .last_row4 = add<std::int32_t>(tables.blocks4.last_row, blocks4),
          .position4 = add<std::int64_t>(tables.blocks4.positions, blocks4),
          .last_row128 = add<std::int32_t>(tables.blocks128.last_row, blocks128),
          .position128 = add<std::int64_t>(tables.blocks128.positions, blocks128),
          .logits_rows = add<std::int32_t>(tables.logits_rows, {logits_rows})};
}

StepTables StepTableBuilder::build(Stream& stream, std::span<const RowRange> ranges,
                                   std::span<const std::int64_t> tokens, std::span<const std::int32_t> logits_rows,
                                   WindowRule rule, std::int64_t sliding_window, std::int64_t position_offset) {
  StepTables tables;
  tables.rows = static_cast<std::int64_t>(tokens.size());
  tables.sequences = static_cast<std::int64_t>(ranges.size());
  std::int64_t pages = 0;
  for (const RowRange& range : ranges) {
    tables.blocks4.count += blocks_ending_in(range.start, range.count, 4);
    tables.blocks128.count += blocks_ending_in(range.start, range.count, 128);
    tables.end_position = std::max(tables.end_position, range.start + range.count);
    pages = std::max(pages, static_cast<std::int64_t>(range.pages.size()));
  }

  const HostTables host = lay_out(tables, pages, static_cast<std::int64_t>(logits_rows.size()));
  std::copy(tokens.begin(), tokens.end(), host.tokens);
  std::copy(logits_rows.begin(), logits_rows.end(), host.logits_rows);
  std::int64_t row = 0;
  std::int64_t block4 = 0;
  std::int64_t block128 = 0;
  for (std::int64_t sequence = 0; sequence < tables.sequences; ++sequence) {
    const RowRange& range = ranges[static_cast<std::size_t>(sequence)];
    const bool continues = range.keys_start >= 0;
    host.first_row[sequence] = static_cast<std::int32_t>(continues ? range.keys_row : row);
    host.start[sequence] = (continues ? range.keys_start : range.start) + position_offset;
    host.state_slot[sequence] = range.slot;
    std::int32_t* const table = host.page_table + sequence * pages;
    std::fill_n(table, pages, 0);
    std::copy(range.pages.begin(), range.pages.end(), table);
    for (std::int64_t i = 0; i < range.count; ++i, ++row) {
      const std::int64_t p = range.start + i + position_offset;
      host.positions[row] = p;
      host.sequence[row] = static_cast<std::int32_t>(sequence);
      const bool causal = rule == WindowRule::kCausal;
      const std::int64_t before = causal ? p + 1 : range.start + position_offset;
      host.window_begin[row] = std::max<std::int64_t>(0, before - sliding_window);
      host.window_end[row] = causal ? p + 1 : range.start + position_offset + range.count;
      const std::int64_t true_position = range.start + i;
      if ((true_position + 1) % 4 == 0) {
        host.last_row4[block4] = static_cast<std::int32_t>(row);
        host.position4[block4++] = true_position - 3;
      }
      if ((true_position + 1) % 128 == 0) {
        host.last_row128[block128] = static_cast<std::int32_t>(row);
        host.position128[block128++] = true_position - 127;
      }
    }
  }
  stream.upload(device_, host_.data(), used_);
  return tables;
}

StepTables StepTableBuilder::plan(const Limits& limits) {
  StepTables tables;
  tables.rows = limits.rows;
  tables.sequences = limits.sequences;
  tables.end_position = limits.pages * kPageTokens;
  tables.blocks4.count = limits.rows / 4 + limits.sequences;
  tables.blocks128.count = limits.rows / 128 + limits.sequences;
  lay_out(tables, limits.pages, limits.logits_rows);
  return tables;
}

}  // namespace hadal::ops

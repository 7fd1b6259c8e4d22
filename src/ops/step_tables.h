#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/backend.h"
#include "ops/step_layout.h"
#include "tensor/tensor.h"

namespace hadal::ops {

/// New rows of one sequence: positions start .. start + count - 1. Rows of earlier calls may still be uncommitted (MTP
/// drafts): then `keys_start` is the position of the first of them and `keys_row` its place among the step's key rows.
struct RowRange {
  std::int32_t slot = 0;                // of the sequence's state in the rings
  std::span<const std::int32_t> pages;  // of the sequence; lives until the tables are built
  std::int64_t start = 0;
  std::int64_t count = 0;
  std::int64_t keys_start = -1;  // -1: start
  std::int64_t keys_row = 0;     // used with keys_start
};

/// Which rows of the step a row's window shows.
enum class WindowRule : std::uint8_t {
  kCausal,      // positions (p - sliding_window, p]
  kWholeBlock,  // DSpark: the whole window before the range, and every row of the range (spec/dspark.md 3.2)
};

/// Blocks of one compress ratio that a step completes.
struct CompletedBlocks {
  std::int64_t count = 0;
  TensorView last_row;   // [count] i32: row of the block's last token
  TensorView positions;  // [count] i64: position of the block's first token
};

/// What operators must know about a step's rows, as tensors in the backend's memory.
struct StepTables {
  std::int64_t rows = 0;
  std::int64_t sequences = 0;
  std::int64_t end_position = 0;  // upper bound (one past the last position of any row)
  TensorView tokens;              // [rows] i64
  TensorView window_begin;        // [rows] i64
  TensorView window_end;          // [rows] i64
  StepLayout layout;
  CompletedBlocks blocks4;
  CompletedBlocks blocks128;
  TensorView logits_rows;  // [R] i32

  [[nodiscard]] const CompletedBlocks& blocks(std::int64_t ratio) const { return ratio == 4 ? blocks4 : blocks128; }
};

/// Builds tables in host memory and copies them to the backend in one piece. Allocates at construction only.
class StepTableBuilder {
 public:
  /// Upper bounds of what `build` will be asked for.
  struct Limits {
    std::int64_t rows = 0;
    std::int64_t sequences = 0;
    std::int64_t logits_rows = 0;
    std::int64_t pages = 0;  // a sequence's page table
  };

  [[nodiscard]] static std::int64_t bytes(const Limits& limits);
  /// `device`: bytes(limits) of the backend's memory; null while a step is planned.
  StepTableBuilder(const Limits& limits, std::byte* device);

  /// `tokens`: one for each row. `position_offset` is added to every position, start included (MTP rows: -1).
  StepTables build(Stream& stream, std::span<const RowRange> ranges, std::span<const std::int64_t> tokens,
                   std::span<const std::int32_t> logits_rows, WindowRule rule, std::int64_t sliding_window,
                   std::int64_t position_offset);

  /// The tables that the largest step would have, with shapes but without contents.
  StepTables plan(const Limits& limits);

 private:
  /// The tables' places in host memory, in the order of StepTables.
  struct HostTables {
    std::int64_t* tokens;
    std::int64_t* positions;
    std::int64_t* window_begin;
    std::int64_t* window_end;
    std::int32_t* sequence;
    std::int32_t* first_row;
    std::int64_t* start;
    std::int32_t* state_slot;
    std::int32_t* page_table;
    std::int32_t* last_row4;
    std::int64_t* position4;
    std::int32_t* last_row128;
    std::int64_t* position128;
    std::int32_t* logits_rows;
  };

  /// Sets the views of `tables`, whose counts are known, and returns where the host writes their contents.
  HostTables lay_out(StepTables& tables, std::int64_t pages, std::int64_t logits_rows);
  template <class T>
  T* add(TensorView& view, Shape shape);

  std::vector<std::byte> host_;
  std::byte* device_;
  std::int64_t used_ = 0;
};

}  // namespace hadal::ops

#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/tensor_table.h"

namespace hadal::train {

/// What is known of one step when it has ended.
struct StepRecord {
  std::int64_t step = 0;    // number of steps taken, this one included
  std::int64_t tokens = 0;  // seen so far
  std::int64_t stage = 0;
  double loss = 0;      // nats a token
  double mtp_loss = 0;  // the same of the MTP layer; 0 without
  double indexer_loss = 0;
  double captured = 0;  // share of attention's mass on the indexers' choices
  double balance = 0;   // 1 when the experts' load is even
  double learning_rate = 0;
  double gradient_norm = 0;  // before clipping, without the indexer
  std::array<double, formats::kModelParts> part_norms{};
  double load_mean = 1;      // max / mean load of an expert, averaged over layers
  double load_worst = 1;     // the same of the worst layer
  std::int64_t unmoved = 0;  // matrices without a gradient, left as they are
  bool skipped = false;      // the step was not applied
  double seconds = 0;
  double optimizer_seconds = 0;  // of them
};

/// What the model can do at some step, measured on held-out text.
struct Evaluation {
  std::int64_t step = 0;
  std::int64_t tokens = 0;
  double loss = 0;           // nats a token
  double bits_per_byte = 0;  // estimated from the sets' bytes a token
};

/// A CSV file that grows by a line a step; what was written survives the end of the program. Lines of steps after
/// `step` (of a run that was cut off and goes on from an earlier checkpoint) are removed when it is opened.
class RunLog {
 public:
  /// Errors: kUnavailable, kResourceExhausted, kCorrupt (a file of another shape).
  [[nodiscard]] static Result<RunLog> open(const std::filesystem::path& steps_file,
                                           const std::filesystem::path& evaluations_file, std::int64_t step);

  /// Errors: kResourceExhausted (full disk), kUnavailable.
  [[nodiscard]] Status add(const StepRecord& record);
  [[nodiscard]] Status add(const Evaluation& evaluation);

  [[nodiscard]] const std::vector<StepRecord>& records() const { return records_; }
  [[nodiscard]] const std::vector<Evaluation>& evaluations() const { return evaluations_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { (void)std::fclose(file); }
  };
  struct Output {
    std::filesystem::path path;
    std::unique_ptr<std::FILE, Close> file;
    [[nodiscard]] Status append(std::string_view line);
  };

  Output steps_, evaluations_file_;
  std::vector<StepRecord> records_;
  std::vector<Evaluation> evaluations_;
};

}  // namespace hadal::train

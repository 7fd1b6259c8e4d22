#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/weight_source.h"
#include "model/model.h"

namespace hadal::engine {

/// What a file of golden vectors holds: docs/vectors.md.
enum class VectorKind : std::uint8_t {
  kFreeRun,  // logits and activations of whole runs
  kLayers,   // every layer on a given input
};

/// Deviations that count as those of the arithmetic itself, for a profile that rounds more than the vectors did: median
/// and 90 % quantile of KL, agreement of the largest logit.
struct Yardstick {
  double kl_median = 0;
  double kl_p90 = 0;
  double top1_agree = 0;
};

struct CheckOptions {
  std::int64_t chunk = 512;
  std::optional<Yardstick> yardstick;
};

/// One compared tensor.
struct CheckLine {
  std::string name;
  double max = 0;         // largest absolute deviation
  double rms = 0;         // of the deviation
  double golden_rms = 0;  // of the golden values
  std::int64_t rows = 0;
  std::int64_t differing_rows = 0;  // selections and largest logits
  double limit = 0;                 // of max (absolute)
  bool ok = true;
  std::string note = {};
};

/// Agreement of distributions, over the stored rows.
struct LogitStatistics {
  double kl_median = 0;
  double kl_p90 = 0;
  double top1_agree = 0;
};

struct CheckReport {
  std::string rule;  // how the comparison was judged
  std::vector<CheckLine> lines;
  std::optional<LogitStatistics> statistics;
  bool ok = true;
  std::string first_deviation;  // name of the first line above tolerance, in the order of computation
};

/// The kind that the tensors of a file show. Errors: kInvalidArgument when they are no golden vectors.
[[nodiscard]] Result<VectorKind> vector_kind(const formats::WeightSource& golden);

/// Runs the model over the vectors' tokens and compares. `same_profile`: the vectors were made with the model's
/// profile, so values are held to the tolerances of docs/vectors.md; otherwise distributions are held to the yardstick.
/// Errors: kInvalidArgument (vectors of another model), and those of the model.
[[nodiscard]] Result<CheckReport> check_vectors(const model::Model& model, const formats::WeightSource& golden,
                                                bool same_profile, const CheckOptions& options);

}  // namespace hadal::engine

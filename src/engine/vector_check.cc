#include "engine/vector_check.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "engine/recorder.h"
#include "engine/vector_set.h"

namespace hadal::engine {
namespace {

// Tolerances of the golden data's own arithmetic in float32, with room for another order of sums (docs/vectors.md).
constexpr double kLogitMax = 2e-4;
constexpr double kLogitRms = 2e-5;
constexpr double kRelativeMax = 2e-4;  // of a tensor's rms
constexpr double kSafeMargin = 1e-4;   // a selection that differs with a larger margin is a defect

struct Tensor {
  std::vector<float> values;
  Shape shape;
  [[nodiscard]] std::int64_t rows() const { return shape[0]; }
  [[nodiscard]] std::int64_t width() const { return shape[0] == 0 ? 0 : shape.elements() / shape[0]; }
};

Result<Tensor> read(const formats::WeightSource& source, const std::string& name) {
  HADAL_ASSIGN(const formats::HostTensor tensor, source.tensor(name));
  HADAL_ASSIGN(std::vector<float> values, reals(source, name));
  return Tensor{.values = std::move(values), .shape = tensor.shape};
}

double quantile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  const auto place = static_cast<std::ptrdiff_t>(part * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), values.begin() + place, values.end());
  return values[static_cast<std::size_t>(place)];
}

/// KL(golden || engine) of one row of logits, in nats.
double divergence(const float* golden, const float* engine, std::int64_t count) {
  const auto log_sum = [&](const float* row) {
    const double top = static_cast<double>(*std::max_element(row, row + count));
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) sum += std::exp(static_cast<double>(row[i]) - top);
    return top + std::log(sum);
  };
  const double golden_sum = log_sum(golden);
  const double engine_sum = log_sum(engine);
  double result = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double log_p = static_cast<double>(golden[i]) - golden_sum;
    result += std::exp(log_p) * (log_p - (static_cast<double>(engine[i]) - engine_sum));
  }
  return result;
}

class Checker {
 public:
  Checker(const model::Model& model, const formats::WeightSource& golden, const CheckOptions& options)
      : model_(model), config_(model.config()), golden_(golden), options_(options) {}

  Result<CheckReport> values();
  Result<CheckReport> layers();
  Result<CheckReport> statistics(double kl_median_limit, double kl_p90_limit, double agreement_limit, std::string rule);

 private:
  Status record_free_run(bool with_traces);
  Status compare_selection(const std::string& prefix, const std::string& name, const std::string& margin_name);
  Status compare_numbers(const std::string& name, const std::vector<std::int64_t>& positions, bool logits);
  Status compare_layer(const std::string& name, const std::string& golden_output);
  Status compare_selection_rate(const std::string& name);
  Status compare_drafts();
  void judge(CheckLine line);
  [[nodiscard]] std::vector<std::int64_t> list(const std::string& name) const {
    return integers(golden_, name).value_or(std::vector<std::int64_t>{});
  }
  [[nodiscard]] std::string layer_name(std::int64_t layer) const {
    return layer < config_.num_hidden_layers ? fmt::format("layers.{}.", layer)
                                             : fmt::format("mtp.{}.", layer - config_.num_hidden_layers);
  }

  const model::Model& model_;
  const formats::ModelConfig& config_;
  const formats::WeightSource& golden_;
  const CheckOptions& options_;
  std::vector<std::int64_t> tokens_;
  std::unique_ptr<VectorSet> recorded_;
  CheckReport report_;
  std::int64_t strict_before_ = std::numeric_limits<std::int64_t>::max();  // positions from here on are not judged
};

void Checker::judge(CheckLine line) {
  if (!line.ok) {
    report_.ok = false;
    if (report_.first_deviation.empty()) report_.first_deviation = line.name;
  }
  report_.lines.push_back(std::move(line));
}

Status Checker::record_free_run(bool with_traces) {
  HADAL_ASSIGN(tokens_, integers(golden_, "tokens"));
  RecordOptions record_options{.chunk = options_.chunk,
                               .batch = 1,
                               .logits_positions = list("logits_positions"),
                               .mtp_logits_positions = list("mtp.0.logits_positions"),
                               .trace_positions = {},
                               .drafter = model_.drafter().kind != formats::DrafterKind::kNone,
                               .context_positions = list("dspark.context_positions"),
                               .anchors = list("dspark.anchors"),
                               .full_positions = {},
                               .forced_inputs = nullptr};
  if (with_traces) {
    record_options.trace_positions = list("trace_positions");
    record_options.full_positions = list("dspark.full_positions");
  }
  HADAL_ASSIGN(recorded_, record(model_, tokens_, record_options));
  return {};
}

Status Checker::compare_selection(const std::string& prefix, const std::string& name, const std::string& margin_name) {
  const std::string full = prefix + name;
  if (!golden_.contains(full)) return {};
  HADAL_ASSIGN(const std::vector<std::int64_t> expected, integers(golden_, full));
  HADAL_ASSIGN(const std::vector<std::int64_t> got, integers(*recorded_, full));
  HADAL_ASSIGN(const formats::HostTensor shape, golden_.tensor(full));
  if (got.size() != expected.size()) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' has other dimensions in this model", full));
  }
  std::vector<float> margins;
  if (golden_.contains(prefix + margin_name)) {
    HADAL_ASSIGN(margins, reals(golden_, prefix + margin_name));
  }
  const std::int64_t width = shape.shape[shape.shape.rank() - 1];
  CheckLine line{.name = full, .rows = static_cast<std::int64_t>(expected.size()) / std::max<std::int64_t>(1, width)};
  for (std::int64_t row = 0; row < line.rows; ++row) {
    const auto begin = static_cast<std::ptrdiff_t>(row * width);
    if (std::equal(expected.begin() + begin, expected.begin() + begin + width, got.begin() + begin)) continue;
    ++line.differing_rows;
    const double margin = margins.empty() ? std::numeric_limits<double>::infinity()
                                          : static_cast<double>(margins[static_cast<std::size_t>(row)]);
    if (row < strict_before_ && (margin > kSafeMargin || margin == 0)) {
      line.ok = false;
      line.note = fmt::format("row {} differs, margin {:.3g}", row, margin);
    } else {
      line.note = fmt::format("row {} differs within its margin {:.3g}; later rows are not judged", row, margin);
      strict_before_ = std::min(strict_before_, row);
    }
  }
  judge(std::move(line));
  return {};
}

Status Checker::compare_numbers(const std::string& name, const std::vector<std::int64_t>& positions, bool logits) {
  if (!golden_.contains(name)) return {};
  HADAL_ASSIGN(const Tensor expected, read(golden_, name));
  if (expected.rows() == 0) return {};
  HADAL_ASSIGN(const Tensor got, read(*recorded_, name));
  if (got.values.size() != expected.values.size()) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' has other dimensions in this model", name));
  }
  CheckLine line{.name = name};
  const std::int64_t width = logits ? config_.vocab_size : expected.width();
  const auto rows = static_cast<std::int64_t>(expected.values.size()) / width;
  double square = 0;
  double golden_square = 0;
  for (std::int64_t row = 0; row < rows; ++row) {
    if (!positions.empty() && positions[static_cast<std::size_t>(row)] >= strict_before_) continue;
    ++line.rows;
    const float* const e = expected.values.data() + row * width;
    const float* const g = got.values.data() + row * width;
    for (std::int64_t i = 0; i < width; ++i) {
      const double deviation = std::abs(static_cast<double>(g[i]) - static_cast<double>(e[i]));
      line.max = std::isnan(deviation) ? std::numeric_limits<double>::infinity() : std::max(line.max, deviation);
      square += deviation * deviation;
      golden_square += static_cast<double>(e[i]) * static_cast<double>(e[i]);
    }
    if (logits && std::max_element(e, e + width) - e != std::max_element(g, g + width) - g) ++line.differing_rows;
  }
  const double count = static_cast<double>(std::max<std::int64_t>(1, line.rows * width));
  line.rms = std::sqrt(square / count);
  line.golden_rms = std::sqrt(golden_square / count);
  line.limit = logits ? kLogitMax : kRelativeMax * line.golden_rms;
  line.ok = line.max <= line.limit && line.differing_rows == 0 && (!logits || line.rms <= kLogitRms);
  judge(std::move(line));
  return {};
}

Status Checker::compare_drafts() {
  if (!golden_.contains("dspark.logits")) return {};
  HADAL_TRY(compare_numbers("dspark.target_hidden", {}, false));
  HADAL_TRY(compare_numbers("dspark.main_x", {}, false));
  for (std::int64_t stage = 0; stage < model_.drafter().stages; ++stage) {
    const std::string prefix = fmt::format("dspark.{}.", stage);
    for (const char* name : {"context_kv", "draft_kv", "after_attention", "output"}) {
      HADAL_TRY(compare_numbers(prefix + name, {}, false));
    }
    HADAL_TRY(compare_selection(prefix, "experts", "gate_margin"));
  }
  HADAL_TRY(compare_numbers("dspark.hidden", {}, false));
  HADAL_TRY(compare_numbers("dspark.base_logits", {}, true));
  HADAL_TRY(compare_numbers("dspark.logits", {}, true));
  HADAL_TRY(compare_numbers("dspark.confidence", {}, false));
  return compare_selection("dspark.", "tokens", "token_margin");
}

Result<CheckReport> Checker::values() {
  report_.rule = "values: logits within 2e-4 (rms 2e-5), other tensors within 2e-4 of their rms, selections equal";
  HADAL_TRY(record_free_run(true));
  const std::vector<std::int64_t> positions = list("trace_positions");
  std::vector<std::int64_t> mtp_positions = positions;
  std::erase(mtp_positions, static_cast<std::int64_t>(tokens_.size()) - 1);
  const bool mtp = model_.drafter().kind == formats::DrafterKind::kMtp;
  for (std::int64_t layer = 0; layer < config_.num_hidden_layers + (mtp ? 1 : 0); ++layer) {
    const std::string prefix = layer_name(layer);
    const auto& rows = layer < config_.num_hidden_layers ? positions : mtp_positions;
    HADAL_TRY(compare_numbers(prefix + "kv", rows, false));
    HADAL_TRY(compare_numbers(prefix + "compressed", {}, false));
    HADAL_TRY(compare_numbers(prefix + "index_keys", {}, false));
    HADAL_TRY(compare_selection(prefix, "index_selected", "index_margin"));
    HADAL_TRY(compare_numbers(prefix + "after_attention", rows, false));
    HADAL_TRY(compare_selection(prefix, "experts", "gate_margin"));
    HADAL_TRY(compare_numbers(prefix + "expert_weights", {}, false));
    HADAL_TRY(compare_numbers(prefix + "output", rows, false));
  }
  HADAL_TRY(compare_numbers("logits", list("logits_positions"), true));
  if (mtp) HADAL_TRY(compare_numbers("mtp.0.logits", list("mtp.0.logits_positions"), true));
  HADAL_TRY(compare_drafts());
  return std::move(report_);
}

Status Checker::compare_layer(const std::string& name, const std::string& golden_output) {
  HADAL_ASSIGN(const Tensor expected, read(golden_, golden_output));
  HADAL_ASSIGN(const Tensor got, read(*recorded_, name));
  if (got.values.size() != expected.values.size()) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' has other dimensions in this model", golden_output));
  }
  std::vector<double> errors;  // per token: rms of the deviation over rms of the golden row
  for (std::int64_t row = 0; row < expected.rows(); ++row) {
    double square = 0;
    double golden_square = 0;
    for (std::int64_t i = row * expected.width(); i < (row + 1) * expected.width(); ++i) {
      const auto index = static_cast<std::size_t>(i);
      const double e = static_cast<double>(expected.values[index]);
      const double deviation = static_cast<double>(got.values[index]) - e;
      square += deviation * deviation;
      golden_square += e * e;
    }
    errors.push_back(std::sqrt(square / golden_square));
  }
  const double median = quantile(errors, 0.5);
  const double p95 = quantile(errors, 0.95);
  const double worst = *std::max_element(errors.begin(), errors.end());
  judge({.name = name,
         .max = worst,
         .rms = median,
         .rows = expected.rows(),
         .limit = 0.05,
         .ok = median <= 2e-6 && p95 <= 1e-5 && worst <= 0.05,
         .note = fmt::format("relative error of a token: median {:.2g}, 95 % below {:.2g}", median, p95)});
  return {};
}

Status Checker::compare_selection_rate(const std::string& name) {
  if (!golden_.contains(name)) return {};
  HADAL_ASSIGN(const std::vector<std::int64_t> expected, integers(golden_, name));
  HADAL_ASSIGN(const std::vector<std::int64_t> got, integers(*recorded_, name));
  HADAL_ASSIGN(const formats::HostTensor shape, golden_.tensor(name));
  const std::int64_t width = shape.shape[1];
  CheckLine line{.name = name, .rows = shape.shape[0]};
  for (std::int64_t row = 0; row < line.rows; ++row) {
    const auto begin = static_cast<std::ptrdiff_t>(row * width);
    if (!std::equal(expected.begin() + begin, expected.begin() + begin + width, got.begin() + begin)) {
      ++line.differing_rows;
    }
  }
  line.ok = line.differing_rows * 100 <= line.rows;
  judge(std::move(line));
  return {};
}

Result<CheckReport> Checker::layers() {
  report_.rule =
      "every layer on a given input: median error of a token within 2e-6, 95 % within 1e-5, none above 0.05, "
      "selections "
      "equal in 99 % of the rows";
  HADAL_ASSIGN(tokens_, integers(golden_, "tokens"));
  const auto count = static_cast<std::int64_t>(tokens_.size());
  RecordOptions record_options{.chunk = count,
                               .batch = 1,
                               .logits_positions = {count - 1},
                               .mtp_logits_positions = {},
                               .trace_positions = std::vector<std::int64_t>(tokens_.size()),
                               .drafter = model_.drafter().kind == formats::DrafterKind::kMtp,
                               .context_positions = {},
                               .anchors = {},
                               .full_positions = {},
                               .forced_inputs = &golden_};
  std::iota(record_options.trace_positions.begin(), record_options.trace_positions.end(), 0);
  HADAL_ASSIGN(recorded_, record(model_, tokens_, record_options));
  for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
    const std::string prefix = layer_name(layer);
    const bool last = layer + 1 == config_.num_hidden_layers;
    HADAL_TRY(compare_selection_rate(prefix + "index_selected"));
    HADAL_TRY(compare_selection_rate(prefix + "experts"));
    HADAL_TRY(compare_layer(prefix + "output", last ? "output" : layer_name(layer + 1) + "input"));
  }
  if (golden_.contains("mtp.0.output") && record_options.drafter) {
    HADAL_TRY(compare_selection_rate("mtp.0.experts"));
    HADAL_TRY(compare_layer("mtp.0.output", "mtp.0.output"));
  }
  return std::move(report_);
}

Result<CheckReport> Checker::statistics(double kl_median_limit, double kl_p90_limit, double agreement_limit,
                                        std::string rule) {
  report_.rule = std::move(rule);
  HADAL_TRY(record_free_run(false));
  HADAL_ASSIGN(const Tensor expected, read(golden_, "logits"));
  HADAL_ASSIGN(const Tensor got, read(*recorded_, "logits"));
  if (got.values.size() != expected.values.size()) {
    return fail(ErrorCode::kInvalidArgument, "the vectors' logits have another vocabulary than this model");
  }
  const std::int64_t width = config_.vocab_size;
  std::vector<double> divergences;
  std::int64_t equal = 0;
  CheckLine line{.name = "logits", .rows = expected.rows()};
  double square = 0;
  for (std::int64_t row = 0; row < expected.rows(); ++row) {
    const float* const e = expected.values.data() + row * width;
    const float* const g = got.values.data() + row * width;
    divergences.push_back(divergence(e, g, width));
    if (std::max_element(e, e + width) - e == std::max_element(g, g + width) - g) ++equal;
    for (std::int64_t i = 0; i < width; ++i) {
      const double deviation = std::abs(static_cast<double>(g[i]) - static_cast<double>(e[i]));
      line.max = std::max(line.max, deviation);
      square += deviation * deviation;
    }
  }
  line.rms = std::sqrt(square / static_cast<double>(expected.values.size()));
  line.differing_rows = expected.rows() - equal;
  const LogitStatistics found{.kl_median = quantile(divergences, 0.5),
                              .kl_p90 = quantile(divergences, 0.9),
                              .top1_agree = static_cast<double>(equal) / static_cast<double>(expected.rows())};
  report_.statistics = found;
  line.ok = found.kl_median <= kl_median_limit && found.kl_p90 <= kl_p90_limit && found.top1_agree >= agreement_limit;
  judge(std::move(line));
  return std::move(report_);
}

}  // namespace

Result<VectorKind> vector_kind(const formats::WeightSource& golden) {
  if (!golden.contains("tokens")) {
    return fail(ErrorCode::kInvalidArgument,
                golden.description() + ": holds no tensor 'tokens', so these are no vectors");
  }
  if (golden.contains("layers.0.input") || golden.contains("layers.1.input")) return VectorKind::kLayers;
  if (golden.contains("logits")) return VectorKind::kFreeRun;
  return fail(ErrorCode::kInvalidArgument, golden.description() + ": holds neither 'logits' nor 'layers.0.input'");
}

Result<CheckReport> check_vectors(const model::Model& model, const formats::WeightSource& golden, bool same_profile,
                                  const CheckOptions& options) {
  HADAL_ASSIGN(const VectorKind kind, vector_kind(golden));
  Checker checker(model, golden, options);
  if (kind == VectorKind::kLayers) {
    if (!same_profile) {
      return fail(ErrorCode::kInvalidArgument,
                  "vectors layer by layer can only be checked with the numerics profile that they were made with");
    }
    return checker.layers();
  }
  if (same_profile && !model.profile().quantize_cache) return checker.values();
  if (same_profile) {
    // A free run with quantisation amplifies every rounding: only a grossly wrong engine can be told from a right one.
    return checker.statistics(0.03, std::numeric_limits<double>::infinity(), 0.8,
                              "statistics: median KL below 0.03, largest logit equal in 80 % of the rows");
  }
  if (options.yardstick) {
    const Yardstick& yardstick = *options.yardstick;
    return checker.statistics(
        1.5 * yardstick.kl_median, 1.5 * yardstick.kl_p90, yardstick.top1_agree - 0.06,
        fmt::format(
            "statistics: KL at most 1.5 times the official code's own (median {:.3g}, 90 % {:.3g}), largest logit "
            "equal in {:.2f} of the rows",
            yardstick.kl_median, yardstick.kl_p90, yardstick.top1_agree - 0.06));
  }
  return checker.statistics(std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity(), 0,
                            "statistics without a verdict: there is no yardstick for this pair of profiles");
}

}  // namespace hadal::engine

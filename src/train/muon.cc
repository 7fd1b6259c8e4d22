#include "train/muon.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "ops/matrix_product.h"
#include "tensor/scalar.h"

namespace hadal::train {
namespace {

constexpr std::int64_t kBatchElements = 1 << 20;  // of all matrices of a batch: X and its copy stay in a level-3 cache
constexpr double kSmallestNorm = 1e-30;           // below it the direction is zero
constexpr std::int64_t kConvertGrain = 1 << 13;

struct Coefficients {
  double p, q, r;
};
constexpr Coefficients kFast{3.4445, -4.7750, 2.0315};  // K. Jordan's: quickly near 1, never exactly
constexpr Coefficients kExact{2, -1.5, 0.5};            // converges to 1

std::span<const Coefficients> coefficients(Muon::Steps steps) {
  static constexpr std::array<Coefficients, 10> kHybrid{kFast, kFast, kFast, kFast,  kFast,
                                                        kFast, kFast, kFast, kExact, kExact};
  return std::span(kHybrid).first(steps == Muon::Steps::kHybrid ? 10 : 5);
}

void transpose(const float* in, std::int64_t rows, std::int64_t columns, float* out) {
  constexpr std::int64_t kTile = 16;  // both sides of a tile stay in the first-level cache
  for (std::int64_t row = 0; row < rows; row += kTile) {
    for (std::int64_t column = 0; column < columns; column += kTile) {
      for (std::int64_t i = row; i < std::min(row + kTile, rows); ++i) {
        for (std::int64_t j = column; j < std::min(column + kTile, columns); ++j)
          out[j * rows + i] = in[i * columns + j];
      }
    }
  }
}

/// Divides by the Frobenius norm.
void normalize(std::span<float> values) {
  double squares = 0;
  for (const float value : values) squares += double{value} * double{value};
  const double norm = std::sqrt(squares);
  const auto factor = static_cast<float>(norm < kSmallestNorm ? 0 : 1 / norm);
  for (float& value : values) value *= factor;
}

float* floats(const Buffer& buffer) { return static_cast<float*>(static_cast<void*>(buffer.data())); }

/// The same values in the products' type.
void convert(const Buffer& from, const TensorView& to, ThreadPool& pool) {
  const float* const in = floats(from);
  pool.parallel_for(to.elements(), kConvertGrain, [&](std::int64_t begin, std::int64_t end, int /*worker*/) {
    if (to.type() == DType::kF32) {
      std::memcpy(to.as<float>() + begin, in + begin, static_cast<std::size_t>(end - begin) * sizeof(float));
      return;
    }
    bf16* const out = to.as<bf16>();
    for (std::int64_t i = begin; i < end; ++i) out[i] = to_bf16(in[i]);
  });
}

}  // namespace

std::int64_t Muon::Group::batch() const {
  return std::clamp<std::int64_t>(kBatchElements / (rows * columns), 1, static_cast<std::int64_t>(matrices.size()));
}

Muon::Muon(Parameters& parameters, const Options& options) : parameters_(parameters), options_(options) {
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<Matrix>> by_shape;
  std::size_t momentum = 0;
  for (const Parameter& tensor : parameters.tensors()) {
    for (const MatrixRows& rows : tensor.matrices) {
      const std::int64_t columns = tensor.shape[1];
      const Matrix matrix{.tensor = &tensor,
                          .first = static_cast<std::size_t>(tensor.first + rows.first * columns),
                          .momentum = momentum,
                          .rows = rows.count,
                          .columns = columns};
      momentum += matrix.elements();
      by_shape[{rows.count, columns}].push_back(matrix);
    }
  }
  momentum_.resize(momentum);
  for (auto& [shape, matrices] : by_shape) groups_.push_back({shape.first, shape.second, std::move(matrices)});
}

Result<std::unique_ptr<Muon>> Muon::create(Parameters& parameters, const Options& options, ops::Backend& backend) {
  std::unique_ptr<Muon> muon(new Muon(parameters, options));
  HADAL_TRY(muon->plan(backend));
  return muon;
}

Status Muon::plan(ops::Backend& backend) {
  std::int64_t elements = 0;
  std::int64_t gram_elements = 0;
  for (const Group& group : groups_) {
    elements = std::max(elements, group.batch() * group.rows * group.columns);
    gram_elements = std::max(gram_elements, group.batch() * group.small() * group.small());
  }
  HADAL_ASSIGN(x_, backend.allocate(elements * size_of(DType::kF32)));
  HADAL_ASSIGN(x_input_, backend.allocate(elements * size_of(options_.product)));
  HADAL_ASSIGN(gram_, backend.allocate(gram_elements * size_of(DType::kF32)));
  HADAL_ASSIGN(gram_input_, backend.allocate(gram_elements * size_of(options_.product)));

  stream_ = backend.create_stream();
  ops::StepPlan plan;
  stream_->set_plan(&plan);
  ThreadPool none(1);
  for (const Group& group : groups_) {
    // A last batch may be smaller, and what it needs is not more.
    HADAL_TRY(orthogonalize(group.batch(), group.small(), group.large(), none));
  }
  stream_->set_plan(nullptr);
  if (!plan.unsupported.empty()) {
    return fail(ErrorCode::kUnimplemented,
                fmt::format("backend {} cannot run Muon: it lacks {}", backend.name(), plan.unsupported.front()));
  }
  HADAL_ASSIGN(scratch_, backend.allocate(plan.scratch_bytes));
  stream_->set_scratch(scratch_.data(), scratch_.bytes());
  return {};
}

Status Muon::step(double learning_rate, double gradient_scale, ThreadPool& pool) {
  skipped_ = 0;
  for (const Group& group : groups_) {
    const auto batch = static_cast<std::size_t>(group.batch());
    for (std::size_t begin = 0; begin < group.matrices.size(); begin += batch) {
      const auto matrices = std::span(group.matrices).subspan(begin, std::min(batch, group.matrices.size() - begin));
      HADAL_TRY(step_batch(group, matrices, learning_rate, gradient_scale, pool));
    }
  }
  return {};
}

Status Muon::step_batch(const Group& group, std::span<const Matrix> batch, double learning_rate, double gradient_scale,
                        ThreadPool& pool) {
  const auto count = static_cast<std::int64_t>(batch.size());
  const auto size = static_cast<std::size_t>(group.rows * group.columns);
  std::vector<std::uint8_t> active(batch.size());
  pool.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int /*worker*/) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      const auto scale = static_cast<float>(batch[i].tensor->indexer ? 1 : gradient_scale);
      active[i] = accumulate(batch[i], scale, floats(x_) + i * size) ? 1 : 0;
    }
  });
  const auto left_out = std::count(active.begin(), active.end(), std::uint8_t{0});
  skipped_ += left_out;
  if (left_out == count) return {};
  HADAL_TRY(orthogonalize(count, group.small(), group.large(), pool));
  pool.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int /*worker*/) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      if (active[i] != 0) apply(batch[i], floats(x_) + i * size, learning_rate);
    }
  });
  return {};
}

/// Momentum and the direction before orthogonalisation; false, and a direction of zeros, when the gradient is zero.
bool Muon::accumulate(const Matrix& matrix, float scale, float* direction) {
  const std::span<const float> gradient = parameters_.gradient().subspan(matrix.first, matrix.elements());
  if (std::all_of(gradient.begin(), gradient.end(), [](float value) { return value == 0; })) {
    std::fill_n(direction, matrix.elements(), 0.0F);
    return false;
  }
  const auto momentum = static_cast<float>(options_.momentum);
  float* const m = momentum_.data() + matrix.momentum;
  const bool tall = matrix.rows > matrix.columns;
  std::vector<float> upright(tall ? matrix.elements() : 0);
  float* const nesterov = tall ? upright.data() : direction;
  for (std::size_t i = 0; i < matrix.elements(); ++i) {
    const float scaled = scale * gradient[i];
    m[i] = momentum * m[i] + scaled;
    nesterov[i] = momentum * m[i] + scaled;
  }
  normalize({nesterov, matrix.elements()});
  if (tall) transpose(nesterov, matrix.rows, matrix.columns, direction);
  return true;
}

/// x_ [count, small, large] <- the nearest matrices with orthonormal rows.
Status Muon::orthogonalize(std::int64_t count, std::int64_t small, std::int64_t large, ThreadPool& pool) {
  const TensorView x(x_.data(), DType::kF32, {count, small, large});
  const TensorView x_input(x_input_.data(), options_.product, x.shape());
  const TensorView gram(gram_.data(), DType::kF32, {count, small, small});
  const TensorView gram_input(gram_input_.data(), options_.product, gram.shape());
  const bool planning = stream_->plan() != nullptr;
  for (const Coefficients& c : coefficients(options_.steps)) {
    if (!planning) convert(x_, x_input, pool);
    HADAL_TRY(ops::matrix_product(*stream_, {.a = x_input, .b = x_input, .out = gram, .transpose_b = true}));
    stream_->wait();
    if (!planning) convert(gram_, gram_input, pool);
    HADAL_TRY(
        ops::matrix_product(*stream_, {.a = gram_input, .b = gram_input, .out = gram, .alpha = c.r, .beta = c.q}));
    stream_->wait();
    if (!planning) convert(gram_, gram_input, pool);
    HADAL_TRY(ops::matrix_product(*stream_, {.a = gram_input, .b = x_input, .out = x, .beta = c.p}));
    stream_->wait();
  }
  return {};
}

void Muon::apply(const Matrix& matrix, const float* direction, double learning_rate) {
  const auto keep = static_cast<float>(1 - learning_rate * options_.weight_decay);
  const auto rate = static_cast<float>(learning_rate * options_.rms *
                                       std::sqrt(static_cast<double>(std::max(matrix.rows, matrix.columns))));
  std::vector<float> upright;
  if (matrix.rows > matrix.columns) {
    upright.resize(matrix.elements());
    transpose(direction, matrix.columns, matrix.rows, upright.data());
    direction = upright.data();
  }
  const std::span<float> weights = parameters_.master().subspan(matrix.first, matrix.elements());
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = weights[i] * keep - rate * direction[i];
}

}  // namespace hadal::train

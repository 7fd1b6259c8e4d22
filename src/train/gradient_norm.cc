#include "train/gradient_norm.h"

#include <cmath>
#include <vector>

#include "train/pieces.h"

namespace hadal::train {

bool GradientNorms::finite() const {
  double sum = total;
  for (const double part : parts) sum += part;
  return std::isfinite(sum);
}

GradientNorms gradient_norms(Parameters& parameters, ThreadPool& pool) {
  const std::vector<TensorPiece> pieces =
      pieces_of(parameters.tensors(), [](const Parameter& tensor) { return tensor.rule != UpdateRule::kConstant; });
  std::vector<double> sums(pieces.size());
  const auto sum_squares = [&](std::int64_t begin, std::int64_t end, int /*worker*/) {
    for (std::int64_t i = begin; i < end; ++i) {
      const TensorPiece& piece = pieces[static_cast<std::size_t>(i)];
      double sum = 0;
      for (const float value :
           parameters.gradient(*piece.tensor)
               .subspan(static_cast<std::size_t>(piece.begin), static_cast<std::size_t>(piece.count))) {
        sum += double{value} * double{value};
      }
      sums[static_cast<std::size_t>(i)] = sum;
    }
  };
  pool.parallel_for(static_cast<std::int64_t>(pieces.size()), 1, sum_squares);

  GradientNorms norms;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Parameter& tensor = *pieces[i].tensor;
    const formats::ModelPart part = tensor.indexer ? formats::ModelPart::kIndexer : tensor.part;
    norms.parts[static_cast<std::size_t>(part)] += sums[i];
    if (!tensor.indexer) norms.total += sums[i];
  }
  for (double& part : norms.parts) part = std::sqrt(part);
  norms.total = std::sqrt(norms.total);
  return norms;
}

}  // namespace hadal::train

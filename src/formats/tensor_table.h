#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/drafter_kind.h"
#include "formats/model_config.h"
#include "formats/weight_source.h"
#include "tensor/tensor.h"

namespace hadal::formats {

/// What a tensor serves, for sums by part.
enum class ModelPart : std::uint8_t {
  kEmbedding,
  kNorms,
  kAttention,
  kCompressor,
  kIndexer,
  kHyperConnection,
  kGate,
  kRoutedExperts,
  kSharedExpert,
  kHead,
  kDrafter,
};
inline constexpr std::size_t kModelParts = 11;
[[nodiscard]] std::string_view name(ModelPart part);

/// Types in which a checkpoint stores its linear weights. Official: FP4 experts, FP8 elsewhere, E8M0 scales. Base: FP8
/// everywhere, F32 scales.
struct WeightFormats {
  DType linear = DType::kE4m3;  // kE4m3 with scales per 128 x 128, or kBf16, kF32 without
  DType expert = DType::kI8;    // kI8 (FP4 pairs) with E8M0 scales per 32, kE4m3 as linear, or kBf16, kF32
  DType scale = DType::kE8m0;   // of FP8 weights: kE8m0 or kF32
};

enum class TensorRole : std::uint8_t {
  kPlain,     // of the listed type (BF16 may also be F32), no scale
  kLinear,    // `X.weight` [out, in]: FP8 with `X.scale`, BF16 or F32
  kExpert,    // like kLinear, or FP4 [out, in / 2] with `X.scale` [out, in / 32]
  kFp8Scale,  // `X.scale` of FP8
  kFp4Scale,  // `X.scale` of FP4
};

struct ExpectedTensor {
  std::string name;
  DType type = DType::kF32;
  Shape shape;
  ModelPart part = ModelPart::kEmbedding;
  TensorRole role = TensorRole::kPlain;
  std::int64_t shard = 0;  // in the official placement, from 1

  [[nodiscard]] std::int64_t bytes() const { return shape.elements() * size_of(type); }
};

/// Every tensor of a checkpoint, in the official order: by shard (the embedding; a layer each; norm, head, hc_head; a
/// draft stage each), inside a shard by type and name (spec/model.md 5.2, spec/dspark.md 2).
struct TensorTable {
  std::vector<ExpectedTensor> tensors;
  std::int64_t shards = 0;

  /// Errors: kInvalidArgument (dimensions that FP4 blocks do not divide).
  [[nodiscard]] static Result<TensorTable> make(const ModelConfig& config, const DrafterShape& drafter,
                                                const WeightFormats& formats);
};

/// Sums over the tensors of one part.
struct PartTotals {
  std::int64_t tensors = 0;
  std::int64_t bytes = 0;
  std::int64_t parameters = 0;         // weights; scales and the table tid2eid are none
  std::int64_t active_parameters = 0;  // used for one token: one embedding row, num_experts_per_tok experts
  std::uint32_t types = 0;             // bit i: some tensor is of the type with value i
};
using Totals = std::array<PartTotals, kModelParts>;  // by ModelPart

/// Sums of a table. With a source, its tensors count as they are there (types may differ from the table's).
[[nodiscard]] Totals totals(const TensorTable& table, const ModelConfig& config, const WeightSource* source = nullptr);
/// All parts but the drafter in one.
[[nodiscard]] PartTotals main_model(const Totals& totals);

}  // namespace hadal::formats

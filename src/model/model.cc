#include "model/model.h"

#include <fmt/core.h>

#include <utility>

#include "formats/tensor_check.h"
#include "model/rope_frequencies.h"

namespace hadal::model {
namespace {

/// What a profile asks of the dimensions beyond what every checkpoint fulfils.
Status check_profile(const formats::ModelConfig& config, const NumericsProfile& profile) {
  if (profile.quantize_cache && config.nope_dim() % 64 != 0) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("numerics profile {} rounds key-value rows in blocks of 64 channels, but head_dim - "
                            "qk_rope_head_dim is {}; use --numerics exact",
                            profile.name, config.nope_dim()));
  }
  if (profile.quantize_cache && config.index_head_dim % 32 != 0) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("numerics profile {} rounds indexer rows in blocks of 32 channels, but index_head_dim is "
                            "{}; use --numerics exact",
                            profile.name, config.index_head_dim));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Model>> Model::load(ops::Backend& backend, const formats::WeightSource& source,
                                           const formats::ModelConfig& config, const NumericsProfile& profile) {
  HADAL_TRY(check_profile(config, profile));
  std::unique_ptr<Model> model(new Model);
  model->backend_ = &backend;
  model->config_ = config;
  model->profile_ = profile;
  HADAL_ASSIGN(formats::TensorCheck check, formats::check_tensors(config, source));
  model->warnings_ = std::move(check.warnings);
  HADAL_ASSIGN(model->weights_, ModelWeights::load(source, config, check.drafter, backend));

  const std::vector<float> main = rope_frequencies(config.qk_rope_head_dim, config.rope_theta);
  const std::vector<float> compress =
      rope_frequencies(config.qk_rope_head_dim, config.compress_rope_theta, config.rope_scaling);
  const auto count = static_cast<std::int64_t>(main.size());
  const auto bytes = static_cast<std::int64_t>(main.size() * sizeof(float));
  HADAL_ASSIGN(model->rope_memory_, backend.allocate(2 * bytes));
  const auto stream = backend.create_stream();
  model->rope_ = {.main = TensorView(model->rope_memory_.data(), DType::kF32, {count}),
                  .compress = TensorView(model->rope_memory_.data() + bytes, DType::kF32, {count})};
  stream->upload(model->rope_.main.bytes(), main.data(), bytes);
  stream->upload(model->rope_.compress.bytes(), compress.data(), bytes);
  stream->wait();
  return model;
}

}  // namespace hadal::model

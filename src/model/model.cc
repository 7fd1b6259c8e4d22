#include "model/model.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "formats/tensor_check.h"

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

std::vector<float> rope_frequencies(std::int64_t rope_dim, double theta) {
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < rope_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rope_dim);
    const auto power = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    frequencies.push_back(1.0F / power);
  }
  return frequencies;
}

std::vector<float> rope_frequencies(std::int64_t rope_dim, double theta,
                                    const formats::ModelConfig::RopeScaling& scaling) {
  std::vector<float> frequencies = rope_frequencies(rope_dim, theta);
  if (scaling.original_max_position_embeddings == 0) return frequencies;
  const auto channels = static_cast<double>(rope_dim);
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  const auto correction = [&](double beta) {
    return channels * std::log(original / (beta * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  const double low = std::max(std::floor(correction(scaling.beta_fast)), 0.0);
  double high = std::min(std::ceil(correction(scaling.beta_slow)), channels - 1);
  if (low == high) high += 0.001;
  const auto factor = static_cast<float>(scaling.factor);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const float ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float smooth = 1.0F - std::clamp(ramp, 0.0F, 1.0F);
    frequencies[i] = frequencies[i] / factor * (1.0F - smooth) + frequencies[i] * smooth;
  }
  return frequencies;
}

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

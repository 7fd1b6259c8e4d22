#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "formats/model_config.h"
#include "formats/tensor_table.h"
#include "formats/weight_source.h"
#include "ops/backend.h"
#include "tensor/buffer.h"

namespace hadal::train {

/// Who changes a tensor after a step (spec/training.md 2.2).
enum class UpdateRule : std::uint8_t {
  kMuon,         // matrices; weight decay
  kAdamDecay,    // embedding and head: AdamW with weight decay
  kAdam,         // norms, sinks, position biases, hyper-connection biases and factors: AdamW without decay
  kBalanceBias,  // gate.bias: moved by the experts' load
  kConstant,     // tid2eid
};

/// Rows [first, first + count) of a tensor that Muon sees as a matrix of its own.
struct MatrixRows {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

/// One tensor of the model.
struct Parameter {
  std::string name;
  Shape shape;
  formats::ModelPart part = formats::ModelPart::kEmbedding;
  formats::TensorRole role = formats::TensorRole::kPlain;  // kLinear: FP8 when exported; kExpert: FP4
  UpdateRule rule = UpdateRule::kConstant;
  bool indexer = false;              // learns from the indexer's objective alone
  DType storage = DType::kF32;       // in the official BF16 layout
  std::int64_t first = 0;            // place of its first element in the flat arrays; none of kConstant
  std::vector<MatrixRows> matrices;  // kMuon: together all rows

  [[nodiscard]] std::int64_t elements() const { return shape.elements(); }
};

/// The values that the working copy takes.
enum class WorkingValues : std::uint8_t {
  kRounded,    // the master rounded to the working type
  kQuantized,  // what the exported FP8 and FP4 codes mean (spec/training.md 2.8); other BF16 tensors rounded to BF16
};

/// Master, gradient and working copy of every tensor of a model, by official name. Master and gradient are flat arrays
/// in which every tensor begins at a multiple of 64 bytes; what lies between is zero. The memory comes from the backend
/// and is used from the host: for backends whose memory is the host's and whose prepare() copies nothing (cpu,
/// reference). Thread-safe for reading.
class Parameters {
 public:
  struct Options {
    DType working = DType::kBf16;  // of the tensors that the official layout has in BF16; or kF32 (exact profiles)
    DType gradient = DType::kF32;  // or kF64 (gradient checks)
  };

  /// All zero. Errors: kUnsupported (a DSpark drafter), kInvalidArgument (types), kResourceExhausted.
  [[nodiscard]] static Result<std::unique_ptr<Parameters>> create(const formats::ModelConfig& config,
                                                                  const Options& options, ops::Backend& backend);

  [[nodiscard]] const formats::ModelConfig& config() const { return config_; }
  [[nodiscard]] const Options& options() const { return options_; }
  /// In the order of formats::TensorTable.
  [[nodiscard]] std::span<const Parameter> tensors() const { return tensors_; }
  /// Null when there is no such tensor.
  [[nodiscard]] const Parameter* find(std::string_view name) const;

  /// All masters in one [flat_size]; of one tensor.
  [[nodiscard]] std::span<float> master() { return floats(master_); }
  [[nodiscard]] std::span<const float> master() const { return floats(master_); }
  [[nodiscard]] std::span<float> master(const Parameter& tensor) { return part(master(), tensor); }
  [[nodiscard]] std::span<const float> master(const Parameter& tensor) const { return part(master(), tensor); }
  /// The same of gradients; they must be f32.
  [[nodiscard]] std::span<float> gradient();
  [[nodiscard]] std::span<float> gradient(const Parameter& tensor) { return part(gradient(), tensor); }
  /// In the gradients' type.
  [[nodiscard]] TensorView gradient_view(const Parameter& tensor) const;
  [[nodiscard]] std::int64_t flat_size() const { return flat_size_; }
  /// Values of a kConstant tensor.
  [[nodiscard]] std::span<std::int64_t> constants(const Parameter& tensor);

  /// The working copies as a checkpoint in the BF16 layout (or F32); they change in place.
  [[nodiscard]] const formats::WeightSource& weights() const { return *weights_; }
  /// Tensors of equal names and shapes for ModelWeights::load, to be written through. gate.bias gets no gradient;
  /// tid2eid is the constant itself.
  [[nodiscard]] const formats::WeightSource& gradients() const { return *gradients_; }

  /// Working copies of the present masters.
  void refresh_working(ThreadPool& pool, WorkingValues values);
  void zero_gradients(ThreadPool& pool);
  /// Masters from a checkpoint of the same configuration, dequantised; the working copies are not refreshed.
  /// Errors: kCorrupt with all that is missing or misshapen.
  [[nodiscard]] Status load_master(const formats::WeightSource& source);

 private:
  class Source;

  Parameters(const formats::ModelConfig& config, const Options& options);
  [[nodiscard]] Status lay_out();
  [[nodiscard]] Status allocate(ops::Backend& backend);
  void make_sources();

  [[nodiscard]] std::span<float> floats(const Buffer& buffer) const;
  template <class T>
  [[nodiscard]] static std::span<T> part(std::span<T> flat, const Parameter& tensor) {
    return flat.subspan(static_cast<std::size_t>(tensor.first), static_cast<std::size_t>(tensor.elements()));
  }
  [[nodiscard]] TensorView working_view(std::size_t tensor) const;

  formats::ModelConfig config_;
  Options options_;
  std::vector<Parameter> tensors_;
  std::vector<std::size_t> by_name_;           // indices into tensors_
  std::vector<std::int64_t> working_offsets_;  // bytes, like tensors_
  std::int64_t flat_size_ = 0;
  std::int64_t working_bytes_ = 0;
  Buffer master_, gradient_, working_;
  std::unique_ptr<formats::WeightSource> weights_, gradients_;
};

}  // namespace hadal::train

#include "train/parameters.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "base/problems.h"
#include "formats/random_checkpoint.h"
#include "quant/block_codes.h"
#include "quant/read_weight.h"
#include "tensor/arena.h"

namespace hadal::train {
namespace {

constexpr std::int64_t kFlatAlignment = 16;   // elements of f32
constexpr std::int64_t kZeroGrain = 1 << 16;  // bytes a thread clears at least
constexpr std::int64_t kBandRows = 128;       // rows of a working copy that are made together: whole FP8 tiles

std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

UpdateRule rule_of(const formats::ExpectedTensor& tensor) {
  const std::string_view name = tensor.name;
  if (tensor.type == DType::kI64) return UpdateRule::kConstant;
  if (name.ends_with("gate.bias")) return UpdateRule::kBalanceBias;
  if (name == "embed.weight" || name == "head.weight") return UpdateRule::kAdamDecay;
  if (tensor.shape.rank() == 1 || name.ends_with(".ape")) return UpdateRule::kAdam;
  return UpdateRule::kMuon;
}

/// The logically independent matrices that lie one below the other in a tensor (spec/training.md 2.2).
std::vector<MatrixRows> matrices_of(const formats::ExpectedTensor& tensor, const formats::ModelConfig& config) {
  const std::string_view name = tensor.name;
  const std::int64_t rows = tensor.shape[0];
  const auto equal_parts = [rows](std::int64_t count) {
    std::vector<MatrixRows> parts;
    for (std::int64_t part = 0; part < count; ++part) parts.push_back({part * (rows / count), rows / count});
    return parts;
  };
  if (name.ends_with(".wo_a.weight")) return equal_parts(config.o_groups);
  const bool compressor = name.ends_with("compressor.wkv.weight") || name.ends_with("compressor.wgate.weight");
  const std::int64_t width = name.find(".indexer.") != std::string_view::npos ? config.index_head_dim : config.head_dim;
  if (compressor) return equal_parts(rows / width);
  if (name.ends_with("hc_attn_fn") || name.ends_with("hc_ffn_fn")) {
    const std::int64_t streams = config.hc_mult;
    return {{0, streams}, {streams, streams}, {2 * streams, rows - 2 * streams}};
  }
  return equal_parts(1);
}

/// The values that a reader of the exported file gets.
void round_as_exported(const Parameter& tensor, std::span<const float> values, quant::MatrixShape shape,
                       std::span<float> out) {
  if (const auto codes = quant::code_format(tensor.role)) return quant::round_to_codes(values, shape, *codes, out);
  for (std::size_t i = 0; i < values.size(); ++i) out[i] = to_f32(to_bf16(values[i]));
}

void store_rounded(std::span<const float> values, DType type, std::byte* out) {
  if (type == DType::kF32) {
    std::memcpy(out, values.data(), values.size_bytes());
    return;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bf16 rounded = to_bf16(values[i]);
    std::memcpy(out + 2 * i, &rounded, 2);
  }
}

}  // namespace

/// A table of tensors in somebody else's memory.
class Parameters::Source final : public formats::WeightSource {
 public:
  explicit Source(std::string description) : description_(std::move(description)) {}

  void add(const std::string& name, const TensorView& view) {
    tensors_[name] = {view.bytes(), view.type(), view.shape(), view.byte_size()};
  }

  [[nodiscard]] Result<formats::HostTensor> tensor(std::string_view name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) {
      return fail(ErrorCode::kNotFound, fmt::format("{}: there is no tensor '{}'", description_, name));
    }
    return found->second;
  }
  [[nodiscard]] bool contains(std::string_view name) const override { return tensors_.contains(name); }
  [[nodiscard]] std::vector<std::string> names() const override {
    std::vector<std::string> names;
    names.reserve(tensors_.size());
    for (const auto& [name, tensor] : tensors_) names.push_back(name);
    return names;
  }
  [[nodiscard]] std::string description() const override { return description_; }

 private:
  std::string description_;
  std::map<std::string, formats::HostTensor, std::less<>> tensors_;
};

Parameters::Parameters(const formats::ModelConfig& config, const Options& options)
    : config_(config), options_(options) {}

Result<std::unique_ptr<Parameters>> Parameters::create(const formats::ModelConfig& config, const Options& options,
                                                       ops::Backend& backend) {
  if ((options.working != DType::kBf16 && options.working != DType::kF32) ||
      (options.gradient != DType::kF32 && options.gradient != DType::kF64)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("working copies are bf16 or f32 and gradients f32 or f64, not {} and {}",
                            hadal::name(options.working), hadal::name(options.gradient)));
  }
  std::unique_ptr<Parameters> parameters(new Parameters(config, options));
  HADAL_TRY(parameters->lay_out());
  HADAL_TRY(parameters->allocate(backend));
  parameters->make_sources();
  return parameters;
}

Status Parameters::lay_out() {
  const formats::DrafterShape drafter = formats::drafter_shape(config_);
  if (drafter.kind == formats::DrafterKind::kDSpark) {
    return fail(ErrorCode::kUnsupported,
                "training a DSpark drafter is not supported; choose a configuration with MTP or without a drafter");
  }
  HADAL_ASSIGN(const formats::TensorTable table,
               formats::TensorTable::make(config_, drafter, {.linear = DType::kBf16, .expert = DType::kBf16}));
  for (const formats::ExpectedTensor& expected : table.tensors) {
    Parameter tensor{.name = expected.name,
                     .shape = expected.shape,
                     .part = expected.part,
                     .role = expected.role,
                     .rule = rule_of(expected),
                     .indexer = expected.name.find(".indexer.") != std::string::npos,
                     .storage = expected.type,
                     .first = flat_size_,
                     .matrices = {}};
    if (tensor.rule == UpdateRule::kMuon) tensor.matrices = matrices_of(expected, config_);
    if (tensor.rule != UpdateRule::kConstant) flat_size_ += rounded_up(tensor.elements(), kFlatAlignment);
    const DType working = tensor.storage == DType::kBf16 ? options_.working : tensor.storage;
    working_offsets_.push_back(working_bytes_);
    working_bytes_ += aligned(tensor.elements() * size_of(working));
    tensors_.push_back(std::move(tensor));
  }
  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
  std::sort(by_name_.begin(), by_name_.end(),
            [this](std::size_t a, std::size_t b) { return tensors_[a].name < tensors_[b].name; });
  return {};
}

Status Parameters::allocate(ops::Backend& backend) {
  HADAL_ASSIGN(master_, backend.allocate(flat_size_ * size_of(DType::kF32)));
  HADAL_ASSIGN(gradient_, backend.allocate(flat_size_ * size_of(options_.gradient)));
  HADAL_ASSIGN(working_, backend.allocate(working_bytes_));
  return {};
}

void Parameters::make_sources() {
  auto weights = std::make_unique<Source>("working copies");
  auto gradients = std::make_unique<Source>("gradients");
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const Parameter& tensor = tensors_[i];
    weights->add(tensor.name, working_view(i));
    const bool constant = tensor.rule == UpdateRule::kConstant;
    gradients->add(tensor.name, constant ? working_view(i) : gradient_view(tensor));
  }
  weights_ = std::move(weights);
  gradients_ = std::move(gradients);
}

const Parameter* Parameters::find(std::string_view name) const {
  const auto at =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [this](std::size_t i, std::string_view wanted) { return tensors_[i].name < wanted; });
  return at != by_name_.end() && tensors_[*at].name == name ? &tensors_[*at] : nullptr;
}

std::span<float> Parameters::floats(const Buffer& buffer) const {
  return {static_cast<float*>(static_cast<void*>(buffer.data())), static_cast<std::size_t>(flat_size_)};
}

std::span<float> Parameters::gradient() {
  HADAL_CHECK(options_.gradient == DType::kF32, "gradients in f64 are read as views");
  return floats(gradient_);
}

TensorView Parameters::gradient_view(const Parameter& tensor) const {
  return {gradient_.data() + tensor.first * size_of(options_.gradient), options_.gradient, tensor.shape};
}

TensorView Parameters::working_view(std::size_t tensor) const {
  const Parameter& parameter = tensors_[tensor];
  const DType type = parameter.storage == DType::kBf16 ? options_.working : parameter.storage;
  return {working_.data() + working_offsets_[tensor], type, parameter.shape};
}

std::span<std::int64_t> Parameters::constants(const Parameter& tensor) {
  const auto index = static_cast<std::size_t>(&tensor - tensors_.data());
  return {working_view(index).as<std::int64_t>(), static_cast<std::size_t>(tensor.elements())};
}

void Parameters::refresh_working(ThreadPool& pool, WorkingValues values) {
  struct Band {
    std::size_t tensor;
    std::int64_t first_row;
    std::int64_t rows;
  };
  std::vector<Band> bands;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].rule == UpdateRule::kConstant) continue;
    const std::int64_t rows = tensors_[i].shape[0];
    for (std::int64_t row = 0; row < rows; row += kBandRows) bands.push_back({i, row, std::min(kBandRows, rows - row)});
  }
  const auto refresh = [&](std::int64_t begin, std::int64_t end, int /*worker*/) {
    std::vector<float> rounded;
    for (std::int64_t i = begin; i < end; ++i) {
      const Band& band = bands[static_cast<std::size_t>(i)];
      const Parameter& tensor = tensors_[band.tensor];
      const std::int64_t columns = tensor.elements() / tensor.shape[0];
      const auto count = static_cast<std::size_t>(band.rows * columns);
      std::span<const float> from =
          std::as_const(*this).master(tensor).subspan(static_cast<std::size_t>(band.first_row * columns), count);
      if (values == WorkingValues::kQuantized && tensor.storage == DType::kBf16) {
        rounded.resize(count);
        round_as_exported(tensor, from, {band.rows, columns}, rounded);
        from = rounded;
      }
      const TensorView to = working_view(band.tensor);
      store_rounded(from, to.type(), to.bytes() + band.first_row * columns * size_of(to.type()));
    }
  };
  pool.parallel_for(static_cast<std::int64_t>(bands.size()), 1, refresh);
}

void Parameters::zero_gradients(ThreadPool& pool) {
  pool.parallel_for(gradient_.bytes(), kZeroGrain, [this](std::int64_t begin, std::int64_t end, int /*worker*/) {
    std::memset(gradient_.data() + begin, 0, static_cast<std::size_t>(end - begin));
  });
}

Status Parameters::load_master(const formats::WeightSource& source) {
  Problems problems;
  for (const Parameter& tensor : tensors_) {
    if (tensor.rule == UpdateRule::kConstant) {
      const auto found = source.tensor(tensor.name);
      if (!found || found->type != DType::kI64 || found->shape != tensor.shape) {
        problems.add(fmt::format("tensor '{}' is missing or no I64 {}", tensor.name, to_string(tensor.shape)));
        continue;
      }
      std::memcpy(constants(tensor).data(), found->data, constants(tensor).size_bytes());
      continue;
    }
    const auto values = quant::read_weight(source, tensor.name, tensor.shape);
    if (!values) {
      problems.add(values.error().message);
      continue;
    }
    std::copy(values->begin(), values->end(), master(tensor).begin());
  }
  return problems.status(ErrorCode::kCorrupt, source.description());
}

}  // namespace hadal::train

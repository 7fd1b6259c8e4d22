#include "formats/tensor_check.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <span>
#include <string_view>
#include <unordered_set>

#include "base/problems.h"
#include "formats/safetensors.h"
#include "tensor/scale_blocks.h"

namespace hadal::formats {
namespace {

constexpr std::string_view kWeight = ".weight";
constexpr std::int64_t kMaxStages = 64;

std::int64_t blocks(std::int64_t extent, std::int64_t block) { return (extent + block - 1) / block; }

std::string scale_name(std::string_view weight) {
  return fmt::format("{}.scale", weight.substr(0, weight.size() - kWeight.size()));
}

std::string described(DType type, const Shape& shape) {
  return fmt::format("{} {}", safetensors_name(type), to_string(shape));
}

/// Compares one source with a table; sentences go to the problems of the main model or of the drafter.
class Checker {
 public:
  Checker(const ModelConfig& config, const WeightSource& source) : config_(config), source_(source) {}

  Problems main;
  Problems drafter;

  void check(const ExpectedTensor& expected) {
    Problems& problems = expected.part == ModelPart::kDrafter ? drafter : main;
    switch (expected.role) {
      case TensorRole::kPlain:
        return check_plain(expected, problems);
      case TensorRole::kLinear:
      case TensorRole::kExpert:
        return check_linear(expected, problems);
      case TensorRole::kFp8Scale:
      case TensorRole::kFp4Scale:
        return;  // judged with its weight, whose type decides what it must be
    }
  }

 private:
  void check_plain(const ExpectedTensor& expected, Problems& problems) {
    const auto found = source_.tensor(expected.name);
    if (!found) return problems.add(missing(expected.name));
    const bool type_fits =
        found->type == expected.type || (expected.type == DType::kBf16 && found->type == DType::kF32);
    if (!type_fits || found->shape != expected.shape) {
      return problems.add(fmt::format("tensor '{}' is {}, but must be {}", expected.name,
                                      described(found->type, found->shape), described(expected.type, expected.shape)));
    }
    if (expected.type == DType::kI64) check_expert_ids(expected, *found, problems);
  }

  void check_linear(const ExpectedTensor& expected, Problems& problems) {
    const auto found = source_.tensor(expected.name);
    if (!found) return problems.add(missing(expected.name));
    const std::int64_t out = expected.shape[0];
    const std::int64_t in = expected.type == DType::kI8 ? 2 * expected.shape[1] : expected.shape[1];
    const bool fp4 = found->type == DType::kI8 && expected.role == TensorRole::kExpert;
    const bool scaled = fp4 || found->type == DType::kE4m3;
    if (!scaled && found->type != DType::kBf16 && found->type != DType::kF32) {
      return problems.add(fmt::format("tensor '{}' is {}, which is no type of such a weight", expected.name,
                                      described(found->type, found->shape)));
    }
    const Shape shape{out, fp4 ? in / 2 : in};
    if (found->shape != shape || (fp4 && in % kFp4Block != 0)) {
      return problems.add(fmt::format("tensor '{}' is {}, but must be {}", expected.name,
                                      described(found->type, found->shape), described(found->type, shape)));
    }
    const std::string name = scale_name(expected.name);
    const auto scale = source_.tensor(name);
    if (!scaled) {
      if (scale) {
        problems.add(fmt::format("tensor '{}' is there, but its weight is {} and has no scales", name,
                                 safetensors_name(found->type)));
      }
      return;
    }
    if (!scale) return problems.add(missing(name));
    const Shape tiles = fp4 ? Shape{out, in / kFp4Block} : Shape{blocks(out, kFp8Tile), blocks(in, kFp8Tile)};
    const bool type_fits = scale->type == DType::kE8m0 || (scale->type == DType::kF32 && !fp4);
    if (!type_fits || scale->shape != tiles) {
      problems.add(fmt::format("tensor '{}' is {}, but must be {}", name, described(scale->type, scale->shape),
                               described(type_fits ? scale->type : DType::kE8m0, tiles)));
    }
  }

  void check_expert_ids(const ExpectedTensor& expected, const HostTensor& table, Problems& problems) const {
    const std::int64_t count = table.shape.elements();
    std::int64_t wrong = 0;
    std::int64_t first = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto expert = load_unaligned<std::int64_t>(table.data + 8 * i);
      if (expert >= 0 && expert < config_.n_routed_experts) continue;
      if (wrong++ == 0) first = i;
    }
    if (wrong == 0) return;
    problems.add(fmt::format("tensor '{}' names expert {} for token {}, but there are {} experts{}", expected.name,
                             load_unaligned<std::int64_t>(table.data + 8 * first), first / config_.num_experts_per_tok,
                             config_.n_routed_experts,
                             wrong == 1 ? "" : fmt::format(" ({} entries in all are out of range)", wrong)));
  }

  static std::string missing(std::string_view name) { return fmt::format("tensor '{}' is missing", name); }

  const ModelConfig& config_;
  const WeightSource& source_;
};

/// 1 + the largest i of a tensor `mtp.i.attn.wq_a.weight`.
std::int64_t count_stages(const std::vector<std::string>& names) {
  constexpr std::string_view kPrefix = "mtp.";
  std::int64_t stages = 0;
  auto at = std::lower_bound(names.begin(), names.end(), kPrefix);
  for (; at != names.end() && at->starts_with(kPrefix); ++at) {
    std::int64_t stage = -1;
    const char* const begin = at->data() + kPrefix.size();
    const char* const end = at->data() + at->size();
    const auto [rest, error] = std::from_chars(begin, end, stage);
    if (error != std::errc{} || std::string_view(rest, static_cast<std::size_t>(end - rest)) != ".attn.wq_a.weight") {
      continue;
    }
    if (stage >= 0 && stage < kMaxStages) stages = std::max(stages, stage + 1);
  }
  return stages;
}

/// Why DSpark's fields of the configuration do not fit its `stages` stages; empty when they do.
std::string dspark_disagreement(const ModelConfig& config, std::int64_t stages) {
  const auto& dspark = config.dspark;
  const auto described_stages = static_cast<std::int64_t>(config.compress_ratios.size()) - config.num_hidden_layers;
  if (dspark.block_size < 1) return "config.json has no dspark_block_size";
  if (described_stages != stages) {
    return fmt::format("compress_ratios describes {} stages, the tensors are of {}", described_stages, stages);
  }
  const auto first = config.compress_ratios.begin() + static_cast<std::ptrdiff_t>(config.num_hidden_layers);
  if (std::any_of(first, config.compress_ratios.end(), [](std::int64_t ratio) { return ratio != 0; })) {
    return "compress_ratios gives a stage a ratio other than 0";
  }
  const std::set<std::int64_t> targets(dspark.target_layer_ids.begin(), dspark.target_layer_ids.end());
  if (targets.empty() || targets.size() != dspark.target_layer_ids.size() ||
      *targets.rbegin() >= config.num_hidden_layers) {
    return fmt::format("dspark_target_layer_ids [{}] are not distinct main layers",
                       fmt::join(dspark.target_layer_ids, ", "));
  }
  if (dspark.noise_token_id >= config.vocab_size) {
    return fmt::format("dspark_noise_token_id {} is outside the vocabulary", dspark.noise_token_id);
  }
  if (dspark.markov_rank < 1) return "config.json has no dspark_markov_rank";
  return "";
}

/// The drafter that the tensors speak of; `reason` says why there is none where one was to be expected.
DrafterShape find_drafter(const ModelConfig& config, const WeightSource& source, const std::vector<std::string>& names,
                          std::string& reason) {
  const std::int64_t stages = count_stages(names);
  const bool dspark = source.contains("mtp.0.main_proj.weight");
  const bool mtp = source.contains("mtp.0.e_proj.weight");
  if (dspark && mtp) {
    reason = "the tensors of MTP and of DSpark are there at once";
  } else if (dspark) {
    reason = dspark_disagreement(config, stages);
    if (reason.empty()) return {DrafterKind::kDSpark, stages};
  } else if (mtp) {
    const auto layer = static_cast<std::size_t>(config.num_hidden_layers);
    if (config.compress_ratios.size() <= layer || config.compress_ratios[layer] == 0) return {DrafterKind::kMtp, 1};
    reason = "compress_ratios gives the MTP layer a ratio other than 0";
  } else if (stages > 0) {
    reason = "the tensors mtp.* are neither an MTP layer's nor DSpark's";
  } else if (config.dspark.block_size > 0 || config.num_nextn_predict_layers > 0) {
    reason = "config.json describes a drafter, but the tensors mtp.* are not there";
  }
  return {};
}

WeightFormats find_formats(const WeightSource& source) {
  WeightFormats formats;
  if (const auto linear = source.tensor("layers.0.attn.wq_b.weight")) formats.linear = linear->type;
  if (const auto expert = source.tensor("layers.0.ffn.experts.0.w1.weight")) formats.expert = expert->type;
  if (const auto scale = source.tensor("layers.0.attn.wq_b.scale")) formats.scale = scale->type;
  return formats;
}

/// Names of the source that are in no table, sorted like `names`.
std::vector<std::string> extra_names(const TensorTable& table, const std::vector<std::string>& names,
                                     const DrafterShape& drafter) {
  std::unordered_set<std::string> known{"mtp.0.embed.weight", fmt::format("mtp.{}.head.weight", drafter.stages - 1)};
  known.reserve(table.tensors.size() + 2);
  for (const ExpectedTensor& expected : table.tensors) known.insert(expected.name);
  std::vector<std::string> extra;
  std::copy_if(names.begin(), names.end(), std::back_inserter(extra),
               [&known](const std::string& name) { return !known.contains(name); });
  return extra;
}

}  // namespace

Result<TensorCheck> check_tensors(const ModelConfig& config, const WeightSource& source) {
  TensorCheck result;
  const std::vector<std::string> names = source.names();
  std::string reason;
  result.formats = find_formats(source);
  result.drafter = find_drafter(config, source, names, reason);
  HADAL_ASSIGN(result.table, TensorTable::make(config, result.drafter, result.formats));
  Checker checker(config, source);
  for (const ExpectedTensor& expected : result.table.tensors) checker.check(expected);
  HADAL_TRY(checker.main.status(ErrorCode::kCorrupt, source.description()));

  if (!checker.drafter.empty()) {
    reason = checker.drafter.count() == 1
                 ? checker.drafter.first()
                 : fmt::format("{} and {} more things are wrong", checker.drafter.first(), checker.drafter.count() - 1);
    result.drafter = {};
    HADAL_ASSIGN(result.table, TensorTable::make(config, result.drafter, result.formats));
  }
  if (!reason.empty()) result.warnings.push_back("drafting is off: " + reason);

  std::vector<std::string> extra = extra_names(result.table, names, result.drafter);
  if (!reason.empty()) std::erase_if(extra, [](const std::string& name) { return name.starts_with("mtp."); });
  if (!extra.empty()) {
    constexpr std::size_t kShown = 5;
    const std::size_t shown = std::min(extra.size(), kShown);
    result.warnings.push_back(fmt::format("{} tensors belong to no part of the model and are ignored: {}{}",
                                          extra.size(), fmt::join(std::span(extra).first(shown), ", "),
                                          shown < extra.size() ? ", ..." : ""));
  }
  return result;
}

}  // namespace hadal::formats

#include "plan/inspection.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>

#include "formats/checkpoint.h"
#include "formats/presets.h"
#include "formats/random_checkpoint.h"
#include "formats/release.h"
#include "formats/safetensors_writer.h"
#include "formats/tensor_check.h"

namespace hadal::plan {
namespace {

formats::DrafterFields fields_of(formats::DrafterKind kind) {
  switch (kind) {
    case formats::DrafterKind::kMtp:
      return formats::DrafterFields::kMtp;
    case formats::DrafterKind::kDSpark:
      return formats::DrafterFields::kDSpark;
    case formats::DrafterKind::kNone:
      break;
  }
  return formats::DrafterFields::kNone;
}

Status inspect_checkpoint(Inspection& result) {
  HADAL_ASSIGN(const auto checkpoint, formats::Checkpoint::open(result.path));
  result.config = checkpoint->config();
  HADAL_ASSIGN(const formats::TensorCheck check, formats::check_tensors(result.config, *checkpoint));
  result.has_weights = true;
  result.drafter = check.drafter;
  result.formats = check.formats;
  result.release =
      formats::release_name(result.config, fields_of(check.drafter.kind), std::optional(check.formats.expert));
  result.totals = formats::totals(check.table, result.config, checkpoint.get());
  result.shards = static_cast<std::int64_t>(checkpoint->shards().size());
  result.tensors = checkpoint->tensor_count();
  for (const auto& shard : checkpoint->shards()) result.file_bytes += shard.file_bytes;
  result.warnings = checkpoint->warnings();
  result.warnings.insert(result.warnings.end(), check.warnings.begin(), check.warnings.end());
  return {};
}

Status inspect_config(Inspection& result) {
  HADAL_ASSIGN(result.config, formats::read_model_config(result.path));
  result.drafter = formats::drafter_shape(result.config);
  result.release = formats::release_name(result.config, fields_of(result.drafter.kind), std::nullopt);
  if (result.config.expert_dtype == "fp8") result.formats.expert = DType::kE4m3;
  if (result.config.expert_dtype == "bf16") result.formats.expert = DType::kBf16;
  HADAL_ASSIGN(const formats::TensorTable table,
               formats::TensorTable::make(result.config, result.drafter, result.formats));
  result.totals = formats::totals(table, result.config);
  result.shards = table.shards;
  result.tensors = static_cast<std::int64_t>(table.tensors.size());
  auto next = table.tensors.begin();
  while (next != table.tensors.end()) {
    std::vector<formats::TensorSpec> specs;
    const std::int64_t shard = next->shard;
    for (; next != table.tensors.end() && next->shard == shard; ++next) {
      specs.push_back({next->name, next->type, next->shape});
      result.file_bytes += next->bytes();
    }
    result.file_bytes += static_cast<std::int64_t>(formats::safetensors_header(specs).size());
  }
  return {};
}

MemoryFit fit_memory(const Inspection& inspection, std::int64_t memory_bytes) {
  MemoryFit fit;
  fit.memory_bytes = memory_bytes;
  const formats::PartTotals& routed = inspection.totals[static_cast<std::size_t>(formats::ModelPart::kRoutedExperts)];
  const formats::PartTotals& drafter = inspection.totals[static_cast<std::size_t>(formats::ModelPart::kDrafter)];
  const std::int64_t weights = formats::main_model(inspection.totals).bytes + drafter.bytes;
  const std::int64_t beside_weights = memory_bytes - weights;
  fit.resident = beside_weights >= inspection.state_bytes;
  fit.sequences = fit.resident ? beside_weights / inspection.state_bytes : 0;
  const std::int64_t for_pages = beside_weights - inspection.state_fixed_bytes;
  if (for_pages >= 0) {
    fit.largest_context = inspection.state_page_bytes == 0
                              ? inspection.config.max_position_embeddings
                              : std::min(inspection.config.max_position_embeddings,
                                         for_pages / inspection.state_page_bytes * ops::kPageTokens);
  }
  const std::int64_t of_one_token =
      routed.bytes / inspection.config.n_routed_experts * inspection.config.num_experts_per_tok;
  const std::int64_t for_experts = memory_bytes - (weights - routed.bytes) - inspection.state_bytes;
  fit.streamed = for_experts >= of_one_token;
  fit.resident_experts = std::clamp(
      static_cast<double>(for_experts) / static_cast<double>(std::max<std::int64_t>(routed.bytes, 1)), 0.0, 1.0);
  return fit;
}

}  // namespace

Result<Inspection> inspect(const InspectionRequest& request) {
  Inspection result;
  result.path = request.path;
  HADAL_ASSIGN(result.profile, model::numerics_profile(request.numerics));
  std::error_code ignored;
  if (std::filesystem::is_regular_file(request.path, ignored)) {
    HADAL_TRY(inspect_config(result));
  } else {
    HADAL_TRY(inspect_checkpoint(result));
  }
  if (!result.config.unknown_fields.empty()) {
    result.warnings.push_back(
        fmt::format("config.json has fields of no known meaning: {}", fmt::join(result.config.unknown_fields, ", ")));
  }
  result.context = request.context > 0 ? request.context : result.config.max_position_embeddings;
  const auto layout = model::StateLayout::make(result.config, result.profile, result.drafter);
  result.state_fixed_bytes = layout.slot_bytes;
  result.state_page_bytes = layout.page_bytes;
  result.state_bytes = layout.bytes(result.context);
  result.fit = fit_memory(result, request.memory_bytes);
  return result;
}

}  // namespace hadal::plan

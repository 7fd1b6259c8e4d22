#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "formats/safetensors.h"
#include "plan/inspection.h"

namespace hadal::plan {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> type_names(std::uint32_t types) {
  std::vector<std::string> names;
  for (unsigned bit = 0; bit < 16; ++bit) {
    if ((types >> bit & 1U) == 0) continue;
    const auto type = static_cast<DType>(bit);
    names.push_back(type == DType::kI8 ? "FP4" : std::string(formats::safetensors_name(type)));
  }
  return names;
}

std::string_view drafter_name(formats::DrafterKind kind) {
  switch (kind) {
    case formats::DrafterKind::kNone:
      return "none";
    case formats::DrafterKind::kMtp:
      return "mtp";
    case formats::DrafterKind::kDSpark:
      return "dspark";
  }
  return "none";
}

/// "13.27 G"
std::string human_count(std::int64_t number) {
  constexpr std::pair<double, const char*> kUnits[] = {{1e12, " T"}, {1e9, " G"}, {1e6, " M"}, {1e3, " k"}};
  const auto value = static_cast<double>(number);
  for (const auto& [unit, suffix] : kUnits) {
    if (value >= unit) return fmt::format("{:.2f}{}", value / unit, suffix);
  }
  return std::to_string(number);
}

/// The ratios of the main layers with runs and alternations folded: "0 x 2, (4 128) x 20, 4".
std::string schedule(const formats::ModelConfig& config) {
  const auto layers = static_cast<std::size_t>(config.num_hidden_layers);
  const auto& ratios = config.compress_ratios;
  std::string text;
  for (std::size_t at = 0; at < layers;) {
    std::size_t run = 1;
    while (at + run < layers && ratios[at + run] == ratios[at]) ++run;
    std::size_t pairs = 1;
    while (run == 1 && at + 2 * pairs + 1 < layers && ratios[at + 2 * pairs] == ratios[at] &&
           ratios[at + 2 * pairs + 1] == ratios[at + 1]) {
      ++pairs;
    }
    if (!text.empty()) text += ", ";
    if (pairs > 1) {
      text += fmt::format("({} {}) x {}", ratios[at], ratios[at + 1], pairs);
      at += 2 * pairs;
    } else {
      text += run == 1 ? std::to_string(ratios[at]) : fmt::format("{} x {}", ratios[at], run);
      at += run;
    }
  }
  return text;
}

void add_row(std::string& text, std::string_view name, const formats::PartTotals& sum) {
  text += fmt::format("  {:<18}{:>9}  {:>12}  {:>10}  {:>10}  {}\n", name, with_separators(sum.tensors),
                      human_bytes(sum.bytes), human_count(sum.parameters),
                      sum.active_parameters == 0 ? "" : human_count(sum.active_parameters),
                      fmt::join(type_names(sum.types), " "));
}

std::string weights_table(const Inspection& inspection) {
  std::string text = fmt::format("  {:<18}{:>9}  {:>12}  {:>10}  {:>10}  {}\n", "part", "tensors", "bytes",
                                 "parameters", "a token", "types");
  for (std::size_t part = 0; part < formats::kModelParts; ++part) {
    const formats::PartTotals& sum = inspection.totals[part];
    if (static_cast<formats::ModelPart>(part) == formats::ModelPart::kDrafter || sum.tensors == 0) continue;
    add_row(text, formats::name(static_cast<formats::ModelPart>(part)), sum);
  }
  add_row(text, "main model", formats::main_model(inspection.totals));
  formats::PartTotals drafter = inspection.totals[static_cast<std::size_t>(formats::ModelPart::kDrafter)];
  drafter.active_parameters = 0;  // depends on how much is drafted
  if (drafter.tensors > 0) add_row(text, "drafter", drafter);
  return text;
}

std::string fit_text(const Inspection& inspection) {
  const MemoryFit& fit = inspection.fit;
  std::string text =
      fmt::format("A machine of {} (weights and state; activations come on top)\n", human_bytes(fit.memory_bytes));
  if (fit.largest_context > 0 || fit.resident) {
    text += fmt::format("  all weights in memory: yes, with one sequence of up to {} tokens, or {} of {} tokens\n",
                        with_separators(fit.largest_context), fit.sequences, with_separators(inspection.context));
  } else {
    text += "  all weights in memory: no\n";
  }
  if (!fit.resident) {
    text += fit.streamed ? fmt::format("  routed experts streamed from disk: yes, {:.0f} % of them stay in memory\n",
                                       100 * fit.resident_experts)
                         : std::string(
                               "  routed experts streamed from disk: no, the other parts and the state do not "
                               "fit\n");
  }
  return text;
}

}  // namespace

std::string report_text(const Inspection& inspection) {
  const formats::ModelConfig& c = inspection.config;
  const auto last = c.compress_ratios.begin() + static_cast<std::ptrdiff_t>(c.num_hidden_layers);
  const auto of_ratio = [&](std::int64_t ratio) { return std::count(c.compress_ratios.begin(), last, ratio); };
  std::string text = fmt::format("{}: {}\n", inspection.path.string(), inspection.release);
  text += fmt::format(
      "  layers    {}: {} with the window only, {} of ratio 4, {} of ratio 128; the first {} route by "
      "token\n",
      c.num_hidden_layers, of_ratio(0), of_ratio(4), of_ratio(128), c.num_hash_layers);
  text += fmt::format("  ratios    {}\n", schedule(c));
  text += fmt::format("  width     {}, {} streams; {} heads of {}, window {}\n", c.hidden_size, c.hc_mult,
                      c.num_attention_heads, c.head_dim, c.sliding_window);
  text += fmt::format("  experts   {} of width {}, {} a token, and a shared one\n", c.n_routed_experts,
                      c.moe_intermediate_size, c.num_experts_per_tok);
  text += fmt::format("  context   {} tokens; vocabulary {}\n", with_separators(c.max_position_embeddings),
                      with_separators(c.vocab_size));
  if (inspection.drafter.kind == formats::DrafterKind::kDSpark) {
    text += fmt::format("  drafter   DSpark, {} stages, {} tokens a draft\n", inspection.drafter.stages,
                        c.dspark.block_size);
  } else {
    text += fmt::format("  drafter   {}\n", inspection.drafter.kind == formats::DrafterKind::kMtp ? "MTP" : "none");
  }
  text += fmt::format("\nWeights: {} tensors in {} files of {}{}\n", with_separators(inspection.tensors),
                      inspection.shards, human_bytes(inspection.file_bytes),
                      inspection.has_weights ? "" : " (derived from the configuration)");
  text += weights_table(inspection);
  text += fmt::format("\nState of a sequence (numerics {})\n  {} and {} for every {} tokens; {} at {} tokens\n\n",
                      inspection.profile.name, human_bytes(inspection.state_fixed_bytes),
                      human_bytes(inspection.state_page_bytes), ops::kPageTokens, human_bytes(inspection.state_bytes),
                      with_separators(inspection.context));
  text += fit_text(inspection);
  for (const std::string& warning : inspection.warnings) text += fmt::format("Note: {}\n", warning);
  return text;
}

std::string report_json(const Inspection& inspection) {
  const formats::ModelConfig& c = inspection.config;
  Json root;
  root["path"] = inspection.path.string();
  root["release"] = inspection.release;
  root["has_weights"] = inspection.has_weights;
  root["layers"] = c.num_hidden_layers;
  root["compress_ratios"] = std::vector<std::int64_t>(
      c.compress_ratios.begin(), c.compress_ratios.begin() + static_cast<std::ptrdiff_t>(c.num_hidden_layers));
  root["hidden_size"] = c.hidden_size;
  root["vocab_size"] = c.vocab_size;
  root["n_routed_experts"] = c.n_routed_experts;
  root["num_experts_per_tok"] = c.num_experts_per_tok;
  root["max_position_embeddings"] = c.max_position_embeddings;
  root["drafter"] = {{"kind", drafter_name(inspection.drafter.kind)}, {"stages", inspection.drafter.stages}};
  const auto sum_json = [](const formats::PartTotals& sum) {
    return Json{{"tensors", sum.tensors},
                {"bytes", sum.bytes},
                {"parameters", sum.parameters},
                {"active_parameters", sum.active_parameters},
                {"types", type_names(sum.types)}};
  };
  root["weights"] = {{"files", inspection.shards},
                     {"file_bytes", inspection.file_bytes},
                     {"tensors", inspection.tensors},
                     {"main_model", sum_json(formats::main_model(inspection.totals))}};
  for (std::size_t part = 0; part < formats::kModelParts; ++part) {
    root["weights"]["parts"][std::string(formats::name(static_cast<formats::ModelPart>(part)))] =
        sum_json(inspection.totals[part]);
  }
  root["state"] = {{"numerics", inspection.profile.name}, {"context", inspection.context},
                   {"bytes", inspection.state_bytes},     {"fixed_bytes", inspection.state_fixed_bytes},
                   {"page_tokens", ops::kPageTokens},     {"page_bytes", inspection.state_page_bytes}};
  const MemoryFit& fit = inspection.fit;
  root["memory"] = {
      {"bytes", fit.memory_bytes},  {"resident", fit.resident}, {"largest_context", fit.largest_context},
      {"sequences", fit.sequences}, {"streamed", fit.streamed}, {"resident_experts", fit.resident_experts}};
  root["warnings"] = inspection.warnings;
  return root.dump(2) + "\n";
}

}  // namespace hadal::plan

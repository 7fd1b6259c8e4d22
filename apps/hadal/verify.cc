#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/mapped_file.h"
#include "command.h"
#include "engine/vector_check.h"
#include "formats/safetensors.h"
#include "load_model.h"
#include "standard_streams.h"

namespace hadal::apps {
namespace {

struct Options {
  ModelFlags model;
  std::string vectors;
  bool json = false;
};

constexpr std::int64_t kMaxSummaryBytes = 1 << 20;

/// The profile that a file of vectors is named after: exact, sim, sim_layers, official.
Result<std::string> profile_of_file(const std::filesystem::path& path) {
  const std::string stem = path.stem().string();
  for (const char* profile : {"exact", "sim", "official"}) {
    if (stem == profile || stem.starts_with(std::string(profile) + "_") ||
        stem.starts_with(std::string(profile) + "-")) {
      return std::string(profile);
    }
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("{}: the name does not begin with exact, sim or official; say with --numerics which profile "
                          "the model shall use",
                          path.string()));
}

/// What the official code itself deviates from exact arithmetic on this case, if the summary beside the vectors says
/// it.
std::optional<engine::Yardstick> yardstick(const std::filesystem::path& vectors, std::string_view made_with) {
  if (made_with != "exact") return std::nullopt;
  const auto text = read_file(vectors.parent_path() / "summary.json", kMaxSummaryBytes);
  if (!text) return std::nullopt;
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  const auto spread = json.is_object() ? json.value("spread", nlohmann::json::object()) : nlohmann::json::object();
  if (!spread.is_object() || !spread.contains("exact_vs_official")) return std::nullopt;
  const auto& row = spread["exact_vs_official"];
  for (const char* field : {"kl_median", "kl_p90", "top1_agree"}) {
    if (!row.is_object() || !row.contains(field) || !row[field].is_number()) return std::nullopt;
  }
  return engine::Yardstick{.kl_median = row["kl_median"].get<double>(),
                           .kl_p90 = row["kl_p90"].get<double>(),
                           .top1_agree = row["top1_agree"].get<double>()};
}

std::string report_text(const engine::CheckReport& report, const std::string& numerics) {
  std::string text = fmt::format("numerics {}\nrule: {}\n\n{:<34} {:>10} {:>10} {:>10} {:>15}\n", numerics, report.rule,
                                 "tensor", "max", "rms", "limit", "rows differing");
  for (const engine::CheckLine& line : report.lines) {
    text += fmt::format("{:<34} {:>10.3g} {:>10.3g} {:>10.3g} {:>7} of {:>5}  {}{}{}\n", line.name, line.max, line.rms,
                        line.limit, line.differing_rows, line.rows, line.ok ? "ok" : "DEVIATES",
                        line.note.empty() ? "" : "  ", line.note);
  }
  if (report.statistics) {
    text += fmt::format("\nKL median {:.4g}, 90 % {:.4g}; largest logit equal in {:.3f} of the rows\n",
                        report.statistics->kl_median, report.statistics->kl_p90, report.statistics->top1_agree);
  }
  text += report.ok ? "\nwithin tolerance\n"
                    : fmt::format("\nABOVE TOLERANCE; the deviation begins at {}\n", report.first_deviation);
  return text;
}

std::string report_json(const engine::CheckReport& report, const std::string& numerics) {
  nlohmann::ordered_json json{{"numerics", numerics}, {"ok", report.ok}, {"rule", report.rule}};
  if (!report.first_deviation.empty()) json["first_deviation"] = report.first_deviation;
  if (report.statistics) {
    json["statistics"] = {{"kl_median", report.statistics->kl_median},
                          {"kl_p90", report.statistics->kl_p90},
                          {"top1_agree", report.statistics->top1_agree}};
  }
  json["tensors"] = nlohmann::ordered_json::array();
  for (const engine::CheckLine& line : report.lines) {
    json["tensors"].push_back({{"name", line.name},
                               {"max", line.max},
                               {"rms", line.rms},
                               {"golden_rms", line.golden_rms},
                               {"limit", line.limit},
                               {"rows", line.rows},
                               {"differing_rows", line.differing_rows},
                               {"ok", line.ok},
                               {"note", line.note}});
  }
  return json.dump(2) + "\n";
}

Status verify(Options options, int& exit_code) {
  const std::filesystem::path path = options.vectors;
  HADAL_ASSIGN(const auto vectors, formats::SafetensorsFile::open(path));
  const auto made_with = profile_of_file(path);
  if (options.model.numerics.empty()) {
    HADAL_ASSIGN(const std::string profile, made_with);
    options.model.numerics = profile == "official" ? "bf16" : profile;
  }
  HADAL_ASSIGN(const LoadedModel loaded, load_model(options.model));
  // A profile in double is the same arithmetic with fewer roundings.
  std::string numerics(loaded.model->profile().name);
  if (numerics.ends_with("64")) numerics.resize(numerics.size() - 2);
  const bool same = made_with && *made_with == numerics;
  HADAL_ASSIGN(const engine::CheckReport report,
               engine::check_vectors(*loaded.model, *vectors, same,
                                     {.chunk = options.model.chunk,
                                      .yardstick = made_with ? yardstick(path, *made_with) : std::nullopt}));
  exit_code = report.ok ? 0 : 1;
  const std::string profile(loaded.model->profile().name);
  return write_standard_output(options.json ? report_json(report, profile) : report_text(report, profile));
}

}  // namespace

void add_verify(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CLI::App* const command =
      app.add_subcommand("verify", "Compares what a model computes with golden vectors; exit 1 above tolerance");
  add_model_flags(*command, options->model);
  command->add_option("VECTORS", options->vectors, "A safetensors file of golden vectors")->required();
  command->add_flag("--json", options->json, "One JSON object instead of the table");
  command->callback([options, &outcome] { outcome.status = verify(*options, outcome.exit_code); });
}

}  // namespace hadal::apps

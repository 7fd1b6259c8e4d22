#include "train/train_config.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "base/mapped_file.h"
#include "base/problems.h"

// The parser is compiled here alone, without exceptions.
#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

namespace hadal::train {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kLargestConfig = 1 << 20;  // bytes
constexpr std::int64_t kLargest = std::int64_t{1} << 50;

/// A table of the file. Takes values by key, and says at the end which keys nobody asked for.
class Section {
 public:
  Section(const toml::table& table, std::string path, Problems& problems)
      : table_(table), path_(std::move(path)), problems_(problems) {}

  [[nodiscard]] bool has(std::string_view key) const { return table_.contains(key); }
  [[nodiscard]] std::string name(std::string_view key) const {
    return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  }
  void problem(std::string_view key, std::string_view what) { problems_.add(fmt::format("{} {}", name(key), what)); }
  void require(std::string_view key) {
    if (!has(key)) problem(key, "is missing");
  }

  void number(std::string_view key, double& out, double low, double high) {
    take<double>(key, out, "is no number");
    if (!(out >= low && out <= high)) problem(key, fmt::format("is {}, but must lie in [{}, {}]", out, low, high));
  }
  void integer(std::string_view key, std::int64_t& out, std::int64_t low, std::int64_t high = kLargest) {
    take<std::int64_t>(key, out, "is no whole number");
    if (out < low || out > high) problem(key, fmt::format("is {}, but must lie in [{}, {}]", out, low, high));
  }
  void boolean(std::string_view key, bool& out) { take<bool>(key, out, "is neither true nor false"); }
  void text(std::string_view key, std::string& out) { take<std::string>(key, out, "is no text"); }
  void file(std::string_view key, const fs::path& folder, fs::path& out) {
    std::string path;
    text(key, path);
    if (!path.empty()) out = folder / path;
  }
  /// One of two words; `second` sets `out` to true.
  void choice(std::string_view key, std::string_view first, std::string_view second, bool& out) {
    std::string word(out ? second : first);
    text(key, word);
    if (word != first && word != second)
      problem(key, fmt::format("is '{}', but must be '{}' or '{}'", word, first, second));
    out = word == second;
  }
  std::vector<std::string> texts(std::string_view key) {
    std::vector<std::string> words;
    used_.emplace(key);
    if (!has(key)) return words;
    const toml::array* const array = table_[key].as_array();
    if (array == nullptr) problem(key, "is no list");
    if (array == nullptr) return words;
    for (const toml::node& node : *array) {
      if (const auto word = node.value<std::string>()) words.push_back(*word);
    }
    if (words.size() != array->size()) problem(key, "holds something that is no text");
    return words;
  }
  /// The table under `key`; an empty one when it is not there.
  Section section(std::string_view key) {
    static const toml::table kEmpty;
    used_.emplace(key);
    const toml::table* const table = table_[key].as_table();
    if (has(key) && table == nullptr) problem(key, "is no table");
    return {table == nullptr ? kEmpty : *table, name(key), problems_};
  }
  std::vector<Section> sections(std::string_view key) {
    std::vector<Section> result;
    used_.emplace(key);
    if (!has(key)) return result;
    const toml::array* const array = table_[key].as_array();
    if (array == nullptr) problem(key, "is no list of tables");
    if (array == nullptr) return result;
    for (std::size_t i = 0; i < array->size(); ++i) {
      const toml::table* const table = array->get(i)->as_table();
      if (table == nullptr) problem(key, "is no list of tables");
      if (table != nullptr) result.emplace_back(*table, fmt::format("{}[{}]", name(key), i), problems_);
    }
    return result;
  }
  [[nodiscard]] std::vector<std::string> keys() const {
    std::vector<std::string> keys;
    for (const auto& [key, node] : table_) keys.emplace_back(key.str());
    return keys;
  }
  void refuse_the_rest() {
    for (const std::string& key : keys()) {
      if (!used_.contains(key)) problem(key, "is no key that is known here");
    }
  }

 private:
  template <class T>
  void take(std::string_view key, T& out, std::string_view wrong) {
    used_.emplace(key);
    if (!has(key)) return;
    if (const auto value = table_[key].value<T>()) {
      out = *value;
    } else {
      problem(key, wrong);
    }
  }

  const toml::table& table_;
  std::string path_;
  Problems& problems_;
  std::set<std::string, std::less<>> used_;
};

/// "schedule.peak" -> "0.002" for every value below a node.
void flatten(const toml::node& node, const std::string& path, std::map<std::string, std::string>& out) {
  if (const toml::table* const table = node.as_table()) {
    for (const auto& [key, child] : *table) {
      flatten(child, path.empty() ? std::string(key.str()) : fmt::format("{}.{}", path, key.str()), out);
    }
    return;
  }
  if (const toml::array* const array = node.as_array()) {
    for (std::size_t i = 0; i < array->size(); ++i) flatten(*array->get(i), fmt::format("{}[{}]", path, i), out);
    return;
  }
  if (const auto text = node.value<std::string>(); text && node.is_string()) out[path] = *text;
  if (const auto truth = node.value<bool>(); truth && node.is_boolean()) out[path] = *truth ? "true" : "false";
  if (const auto number = node.value<double>(); number && node.is_number()) out[path] = fmt::format("{}", *number);
}

void read_sources(Section data, const fs::path& folder, TrainConfig& config) {
  data.integer("longest_piece", config.longest_piece, 2);
  data.integer("validation_tokens", config.validation_tokens, 2);
  for (const std::string& path : data.texts("validation")) config.validation.push_back(folder / path);
  for (Section& section : data.sections("sources")) {
    NamedSource named;
    section.require("folder");
    section.file("folder", folder, named.source.folder);
    named.name = named.source.folder.filename().string();
    section.text("name", named.name);
    section.boolean("learn_all", named.source.learn_all);
    if (section.has("epochs") && section.has("share")) section.problem("share", "is given beside epochs");
    const bool share = section.has("share");
    named.source.weight.kind = share ? SourceWeight::Kind::kShare : SourceWeight::Kind::kEpochs;
    section.number(share ? "share" : "epochs", named.source.weight.value, 0, share ? 1 : 1e6);
    section.refuse_the_rest();
    const bool twice = std::any_of(config.sources.begin(), config.sources.end(),
                                   [&](const NamedSource& other) { return other.name == named.name; });
    if (twice) section.problem("name", fmt::format("'{}' is the name of another source", named.name));
    config.sources.push_back(std::move(named));
  }
  if (config.sources.empty()) data.problem("sources", "names no prepared set");
  data.refuse_the_rest();
}

void read_schedule(Section section, Schedule& schedule) {
  section.require("tokens");
  section.integer("tokens", schedule.total_tokens, 0);
  section.number("peak", schedule.peak, 0, 10);
  section.number("final", schedule.final, 0, 10);
  section.integer("warmup_steps", schedule.warmup_steps, 0);
  section.number("decay_share", schedule.decay_share, 0, 1);
  section.choice("decay", "cosine", "linear", schedule.linear_decay);
  section.refuse_the_rest();
}

void read_optimizer(Section section, TrainConfig& config) {
  bool economy = false;
  section.choice("muon_steps", "hybrid", "economy", economy);
  config.muon.steps = economy ? Muon::Steps::kEconomy : Muon::Steps::kHybrid;
  section.number("momentum", config.muon.momentum, 0, 1);
  section.number("update_rms", config.muon.rms, 0, 10);
  section.number("weight_decay", config.adam.weight_decay, 0, 10);
  config.muon.weight_decay = config.adam.weight_decay;
  section.number("beta1", config.adam.beta1, 0, 1);
  section.number("beta2", config.adam.beta2, 0, 1);
  section.number("epsilon", config.adam.epsilon, 0, 1);
  section.number("clip", config.clip, 0, std::numeric_limits<double>::max());
  section.refuse_the_rest();
}

void read_loss(Section section, TrainConfig& config) {
  section.number("mtp", config.mtp_weight, 0, 100);
  section.number("mtp_decaying", config.mtp_weight_decaying, 0, 100);
  section.number("balance", config.balance_alpha, 0, 100);
  section.number("bias_speed", config.bias_speed, 0, 1);
  section.number("indexer", config.indexer_weight, 0, 100);
  section.refuse_the_rest();
}

void read_output(Section section, OutputConfig& output) {
  section.number("checkpoint_minutes", output.checkpoint_minutes, 0, 1e6);
  section.integer("evaluate_every", output.evaluate_every, 0);
  section.integer("sample_every", output.sample_every, 0);
  section.integer("sample_tokens", output.sample_tokens, 1, 1 << 20);
  output.prompts = section.texts("prompts");
  section.refuse_the_rest();
}

/// Weights of this stage: those of the sources, but for the ones it names.
void read_mixture(Section& stage, const std::vector<NamedSource>& sources, std::vector<SourceWeight>& mixture) {
  for (const NamedSource& named : sources) mixture.push_back(named.source.weight);
  for (const auto& [key, kind] :
       {std::pair{"epochs", SourceWeight::Kind::kEpochs}, std::pair{"shares", SourceWeight::Kind::kShare}}) {
    Section weights = stage.section(key);
    for (const std::string& name : weights.keys()) {
      const auto found =
          std::find_if(sources.begin(), sources.end(), [&](const NamedSource& named) { return named.name == name; });
      if (found == sources.end()) {
        weights.problem(name, "is no source of [data]");
        continue;
      }
      SourceWeight& weight = mixture[static_cast<std::size_t>(found - sources.begin())];
      weight.kind = kind;
      weights.number(name, weight.value, 0, kind == SourceWeight::Kind::kShare ? 1 : 1e6);
    }
  }
}

void read_stages(Section& root, TrainConfig& config) {
  double begin = 0;
  for (Section& section : root.sections("stages")) {
    Stage stage;
    section.number("until", stage.until, 0, 1);
    if (stage.until <= begin) section.problem("until", "is not beyond the end of the stage before");
    begin = stage.until;
    section.require("sequence");
    section.integer("sequence", stage.sequence, 2, config.longest_piece);
    stage.batch = config.micro_batch;
    section.integer("batch", stage.batch, 1);
    if (stage.sequence > 0 && stage.batch % stage.sequence != 0) {
      section.problem("batch",
                      fmt::format("is {}, which is no multiple of the sequence of {}", stage.batch, stage.sequence));
    }
    if (stage.sequence > config.micro_batch) {
      section.problem("sequence", fmt::format("is longer than micro_batch, which is {}", config.micro_batch));
    }
    section.choice("attention", "sparse", "dense", stage.dense_attention);
    section.boolean("quantized", stage.quantized);
    read_mixture(section, config.sources, stage.mixture);
    section.refuse_the_rest();
    config.stages.push_back(std::move(stage));
  }
  if (config.stages.empty()) root.problem("stages", "are missing: there must be at least one");
  if (!config.stages.empty() && config.stages.back().until < 1) root.problem("stages", "end before 1.0");
}

}  // namespace

std::size_t TrainConfig::stage_at(std::int64_t tokens) const {
  const auto total = static_cast<double>(schedule.total_tokens);
  std::size_t stage = 0;
  while (stage + 1 < stages.size() && static_cast<double>(tokens) >= stages[stage].until * total) ++stage;
  return stage;
}

std::int64_t TrainConfig::longest_sequence() const {
  std::int64_t longest = 0;
  for (const Stage& stage : stages) longest = std::max(longest, stage.sequence);
  return longest;
}

Result<TrainConfig> parse_train_config(std::string_view text, const fs::path& folder, std::string_view where) {
  const toml::parse_result parsed = toml::parse(text, where);
  if (!parsed) {
    const toml::source_position at = parsed.error().source().begin;
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: line {}, column {}: {}", where, at.line, at.column, parsed.error().description()));
  }
  Problems problems;
  TrainConfig config;
  Section root(parsed.table(), "", problems);
  config.name = fs::path(where).stem().string();
  root.text("name", config.name);
  if (config.name.empty() || config.name.find('/') != std::string::npos || config.name.front() == '.') {
    root.problem("name", "must be usable as the name of a folder");
  }
  root.require("model");
  root.file("model", folder, config.model);
  root.file("tokenizer", folder, config.tokenizer);
  root.file("initial", folder, config.initial);
  std::int64_t seed = 0;
  root.integer("seed", seed, 0);
  config.seed = static_cast<std::uint64_t>(seed);
  root.text("numerics", config.numerics);
  root.integer("micro_batch", config.micro_batch, 2);
  root.choice("recompute", "none", "layer", config.recompute_layers);
  read_sources(root.section("data"), folder, config);
  read_schedule(root.section("schedule"), config.schedule);
  read_optimizer(root.section("optimizer"), config);
  read_loss(root.section("loss"), config);
  read_output(root.section("output"), config.output);
  read_stages(root, config);
  root.refuse_the_rest();
  HADAL_TRY(problems.status(ErrorCode::kInvalidArgument, where));

  flatten(parsed.table(), "", config.settings);
  std::erase_if(config.settings, [](const auto& setting) {
    return setting.first == "name" || setting.first == "recompute" || setting.first.starts_with("output.");
  });
  return config;
}

Result<TrainConfig> read_train_config(const fs::path& path) {
  HADAL_ASSIGN(const std::string text, read_file(path, kLargestConfig));
  return parse_train_config(text, path.parent_path(), path.string());
}

}  // namespace hadal::train

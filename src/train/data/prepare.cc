#include "train/data/prepare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "base/mapped_file.h"
#include "base/output_file.h"
#include "base/sha256.h"
#include "base/system_error.h"
#include "text/bpe_trainer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_writer.h"
#include "train/data/document_tokens.h"
#include "train/data/text_file.h"
#include "train/data/token_set_writer.h"

namespace hadal::train {
namespace {

namespace fs = std::filesystem;

// A document and where it goes.
struct Placed {
  Document document;
  Split split = Split::kTrain;
};

// The directory that everything is written into first. Removed again unless it has become OUT.
class PartialDirectory {
 public:
  static Result<PartialDirectory> make(const fs::path& out) {
    std::error_code error;
    if (fs::exists(out, error) && !(fs::is_directory(out, error) && fs::is_empty(out, error))) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: exists already; name a new folder or remove this one", out.string()));
    }
    PartialDirectory partial(out, fs::path(out.string() + ".partial"));
    if (fs::exists(partial.path_ / kMark, error)) fs::remove_all(partial.path_, error);  // of a run that was killed
    if (fs::exists(partial.path_, error)) {
      partial.armed_ = false;
      return fail(
          ErrorCode::kInvalidArgument,
          fmt::format("{}: is in the way and is not left over from this command; move it", partial.path_.string()));
    }
    fs::create_directories(partial.path_, error);
    if (error) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("{}: cannot be made: {}", partial.path_.string(), error.message()));
    }
    HADAL_TRY(write_file_atomically(partial.path_ / kMark, "hadal data prepare is at work here, or was killed.\n"));
    return partial;
  }

  PartialDirectory(PartialDirectory&& other) noexcept
      : out_(std::move(other.out_)), path_(std::move(other.path_)), armed_(std::exchange(other.armed_, false)) {}
  ~PartialDirectory() {
    std::error_code ignored;
    if (armed_) fs::remove_all(path_, ignored);
  }

  [[nodiscard]] const fs::path& path() const { return path_; }

  // Gives the directory its name.
  Status finish() {
    std::error_code error;
    fs::remove(path_ / kMark, error);
    HADAL_TRY(sync_directory(path_));
    fs::rename(path_, out_, error);
    if (error) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("{}: cannot be renamed to {}: {}", path_.string(), out_.string(), error.message()));
    }
    armed_ = false;
    return sync_directory(fs::absolute(out_).parent_path());
  }

 private:
  static constexpr const char* kMark = "UNFINISHED";
  PartialDirectory(fs::path out, fs::path path) : out_(std::move(out)), path_(std::move(path)) {}

  fs::path out_;
  fs::path path_;
  bool armed_ = true;
};

// A number in [0, 1) that depends on the document and the purpose.
double chance(const Document& document, std::string_view purpose) {
  std::string bytes(purpose);
  bytes += document.text;
  for (const text::Message& message : document.messages) bytes += message.content.text;
  const Sha256Digest digest = sha256(bytes);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 7; ++i) value = value << 8 | digest[i];
  return std::ldexp(static_cast<double>(value), -56);
}

// Cuts off about the last `share` of a text, at the end of a line or, without one there, of a character.
std::string cut_tail(std::string& text, double share) {
  auto at = text.size() - static_cast<std::size_t>(std::llround(static_cast<double>(text.size()) * share));
  const std::size_t line = text.rfind('\n', at);
  if (line != std::string::npos && line > text.size() / 2) at = line + 1;
  while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
  std::string tail = text.substr(at);
  text.resize(at);
  return tail;
}

class Preparation {
 public:
  Preparation(const PrepareOptions& options, std::vector<InputFile> files)
      : options_(options), files_(std::move(files)) {
    for (const InputFile& file : files_) total_bytes_ += estimated_text_bytes(file.path);
    // Equal documents are kept where they are read first.
    std::stable_sort(files_.begin(), files_.end(),
                     [](const InputFile& a, const InputFile& b) { return a.split > b.split; });
  }

  Status run(const fs::path& directory) {
    HADAL_TRY(check_weights());
    HADAL_TRY(make_tokenizer(directory));
    HADAL_ASSIGN(markers_, DocumentMarkers::of(*tokenizer_));
    report_.vocab_size = tokenizer_->vocab_size();
    used_.resize(static_cast<std::size_t>(report_.vocab_size));
    HADAL_TRY(for_each_document("tokenizing", report_.groups, [&](const std::string& group, const Placed& placed) {
      return write(directory, group, placed);
    }));
    for (auto& [key, open] : sets_) {
      HADAL_TRY(open.writer.finish());
      std::sort(open.lengths.begin(), open.lengths.end());
      report_.sets.push_back({.folder = fmt::format("{}/{}", name(key.first), key.second),
                              .split = key.first,
                              .meta = open.writer.meta(),
                              .lengths = std::move(open.lengths)});
    }
    if (report_.sets.empty()) {
      return fail(ErrorCode::kInvalidArgument, "no document is left: all are empty, ill-formed or duplicates");
    }
    count_unused();
    return write_file_atomically(directory / "prepared.json", to_json(report_) + "\n");
  }

  PrepareReport report_;

 private:
  struct OpenSet {
    TokenSetWriter writer;
    std::vector<std::int64_t> lengths;
  };

  Status check_weights() const {
    for (const auto& [group, weight] : options_.weights) {
      const bool known = std::any_of(files_.begin(), files_.end(),
                                     [&group = group](const InputFile& file) { return file.group == group; });
      if (known && weight >= 0) continue;
      return fail(ErrorCode::kInvalidArgument, known
                                                   ? fmt::format("the weight of '{}' is negative", group)
                                                   : fmt::format("there is no group '{}' to give a weight to", group));
    }
    return {};
  }

  Status make_tokenizer(const fs::path& directory) {
    text::TokenizerFiles files;
    if (options_.tokenizer.empty()) {
      HADAL_TRY(train_tokenizer(directory));
      report_.trained_tokenizer = true;
      HADAL_ASSIGN(files, text::read_tokenizer_files(directory));
    } else {
      HADAL_ASSIGN(files, text::read_tokenizer_files(options_.tokenizer));
      HADAL_TRY(write_file_atomically(directory / "tokenizer.json", files.json));
      if (files.config_json) {
        HADAL_TRY(write_file_atomically(directory / "tokenizer_config.json", *files.config_json));
      }
    }
    HADAL_ASSIGN(text::Tokenizer tokenizer, text::Tokenizer::from_files(files));
    tokenizer_.emplace(std::move(tokenizer));
    report_.tokenizer_sha256 = sha256_hex(files.json);
    return {};
  }

  Status train_tokenizer(const fs::path& directory) {
    // Weights are whole numbers there: hundredths.
    constexpr double kWeightUnit = 100;
    text::BpeTrainingOptions training{.min_count = 2 * static_cast<std::int64_t>(kWeightUnit)};
    HADAL_ASSIGN(training.merges, text::merges_for(options_.train_vocab));
    const double sampled =
        static_cast<double>(options_.sample_bytes) / static_cast<double>(std::max<std::int64_t>(total_bytes_, 1));
    text::PieceCounts counts;
    std::map<std::string, ReadCounts> ignored;
    HADAL_TRY(for_each_document("reading", ignored, [&](const std::string& group, const Placed& placed) -> Status {
      if (placed.split != Split::kTrain || chance(placed.document, "sample") >= sampled) return {};
      const auto given = options_.weights.find(group);
      const std::int64_t weight = std::llround(kWeightUnit * (given == options_.weights.end() ? 1 : given->second));
      if (weight == 0) return {};
      counts.add(placed.document.text, weight);
      for (const text::Message& message : placed.document.messages) counts.add(message.content.text, weight);
      return {};
    }));
    training.progress = [this](std::int64_t done, std::int64_t total) { return go_on("training", done, total); };
    HADAL_ASSIGN(const text::TrainedBpe bpe, text::train_bpe(counts, training));
    return text::write_tokenizer(directory, bpe);
  }

  bool go_on(std::string_view stage, std::int64_t done, std::int64_t total) const {
    return !options_.progress || options_.progress(stage, done, total);
  }

  // Calls take(group, placed) for every document, in an order that depends on the inputs alone.
  template <class Take>
  Status for_each_document(std::string_view stage, std::map<std::string, ReadCounts>& counts, Take&& take) {
    SeenTexts seen;
    std::set<std::string> begun;  // groups with a document in train
    std::int64_t before = 0;
    for (const InputFile& file : files_) {
      const std::int64_t size = estimated_text_bytes(file.path);
      const auto progress = [&](std::int64_t bytes) {
        return go_on(stage, before + std::min(bytes, size), total_bytes_);
      };
      HADAL_TRY(read_documents(
          file, options_.reading, seen, counts[file.group], progress, [&](Document&& document) -> Status {
            if (file.has_split) return take(file.group, Placed{std::move(document), file.split});
            const bool first = begun.insert(file.group).second;
            return split_up(std::move(document), first, [&](const Placed& placed) { return take(file.group, placed); });
          }));
      before += size;
    }
    return {};
  }

  template <class Take>
  Status split_up(Document&& document, bool first, Take&& take) {
    if (!document.is_chat() && document.text.size() >= PrepareOptions::kCutBytes) {
      for (const auto& [split, share] :
           {std::pair{Split::kTest, options_.test_share}, {Split::kValid, options_.valid_share}}) {
        if (share == 0) continue;
        Placed tail{{.text = cut_tail(document.text, share), .messages = {}, .source = document.source}, split};
        if (!tail.document.text.empty()) HADAL_TRY(take(tail));
      }
      return take(Placed{std::move(document), Split::kTrain});
    }
    const double drawn = first ? 1 : chance(document, "split");
    const Split split = drawn < options_.test_share                          ? Split::kTest
                        : drawn < options_.test_share + options_.valid_share ? Split::kValid
                                                                             : Split::kTrain;
    return take(Placed{std::move(document), split});
  }

  Status write(const fs::path& directory, const std::string& group, const Placed& placed) {
    const bool is_chat = placed.document.is_chat();
    auto found = sets_.find({placed.split, group});
    if (found == sets_.end()) {
      const TokenSetMeta meta{.name = group,
                              .vocab_size = report_.vocab_size,
                              .tokenizer_sha256 = report_.tokenizer_sha256,
                              .bos_id = markers_.bos,
                              .eos_id = markers_.eos,
                              .pad_id = markers_.pad,
                              .has_mask = is_chat,
                              .sources = {},
                              .shards = {}};
      HADAL_ASSIGN(TokenSetWriter writer,
                   TokenSetWriter::create(directory / name(placed.split) / group, meta, options_.shard_tokens));
      found = sets_.emplace(std::pair{placed.split, group}, OpenSet{std::move(writer), {}}).first;
    }
    if (found->second.writer.meta().has_mask != is_chat) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("the group '{}' has records with 'text' and records with 'messages'; put them into two "
                              "files",
                              group));
    }
    TokenDocument tokens;
    if (is_chat) {
      HADAL_ASSIGN(tokens, chat_tokens(*tokenizer_, markers_, placed.document.messages));
    } else {
      HADAL_ASSIGN(tokens, text_tokens(*tokenizer_, markers_, placed.document.text));
    }
    for (const std::int32_t id : tokens.tokens) used_[static_cast<std::size_t>(id)] = true;
    found->second.lengths.push_back(static_cast<std::int64_t>(tokens.tokens.size()));
    return found->second.writer.add(tokens, placed.document.source);
  }

  void count_unused() {
    for (std::int32_t id = 0; id < static_cast<std::int32_t>(report_.vocab_size); ++id) {
      const bool made = tokenizer_->has(id) && !tokenizer_->is_added(id) && tokenizer_->token_bytes(id).size() > 1;
      if (made && !used_[static_cast<std::size_t>(id)]) ++report_.unused_tokens;
    }
  }

  const PrepareOptions& options_;
  std::vector<InputFile> files_;
  std::int64_t total_bytes_ = 0;
  std::optional<text::Tokenizer> tokenizer_;
  DocumentMarkers markers_;
  std::map<std::pair<Split, std::string>, OpenSet> sets_;
  std::vector<bool> used_;  // ids that some document has
};

}  // namespace

Result<PrepareReport> prepare_data(const PrepareOptions& options) {
  if (!(options.valid_share >= 0 && options.test_share >= 0 && options.valid_share + options.test_share < 1)) {
    return fail(ErrorCode::kInvalidArgument,
                "the shares of valid and test are not numbers from 0 up with a sum below 1");
  }
  if (options.tokenizer.empty()) HADAL_TRY(text::merges_for(options.train_vocab));
  std::int64_t skipped = 0;
  HADAL_ASSIGN(std::vector<InputFile> files, find_inputs(options.inputs, skipped));
  HADAL_ASSIGN(PartialDirectory partial, PartialDirectory::make(options.out));
  Preparation preparation(options, std::move(files));
  preparation.report_.skipped_files = skipped;
  HADAL_TRY(preparation.run(partial.path()));
  HADAL_TRY(partial.finish());
  return std::move(preparation.report_);
}

std::string to_json(const PrepareReport& report) {
  using Json = nlohmann::ordered_json;
  Json sets = Json::array();
  for (const PreparedSet& set : report.sets) {
    const SourceTotals totals = set.meta.totals();
    sets.push_back({{"folder", set.folder},
                    {"documents", totals.documents},
                    {"tokens", totals.tokens},
                    {"loss_tokens", totals.loss_tokens},
                    {"bytes", totals.bytes}});
    for (const SourceTotals& source : set.meta.sources) {
      sets.back()["sources"][source.name] = {
          {"documents", source.documents}, {"tokens", source.tokens}, {"bytes", source.bytes}};
    }
  }
  Json groups = Json::object();
  for (const auto& [group, counts] : report.groups) {
    groups[group] = {{"records", counts.records},
                     {"joined", counts.joined},
                     {"dropped",
                      {{"ill_formed", counts.dropped.ill_formed},
                       {"empty", counts.dropped.empty},
                       {"duplicate", counts.dropped.duplicate}}}};
  }
  const Json json = {{"vocab_size", report.vocab_size},
                     {"tokenizer_sha256", report.tokenizer_sha256},
                     {"trained_tokenizer", report.trained_tokenizer},
                     {"unused_tokens", report.unused_tokens},
                     {"skipped_files", report.skipped_files},
                     {"sets", std::move(sets)},
                     {"groups", std::move(groups)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hadal::train

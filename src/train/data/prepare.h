#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "train/data/document_reader.h"
#include "train/data/token_set.h"

namespace hadal::train {

struct PrepareOptions {
  std::vector<std::filesystem::path> inputs;  // see find_inputs
  std::filesystem::path out;                  // made; it must not exist or be empty
  std::filesystem::path tokenizer{};          // of the text; without one a tokenizer is trained
  std::int64_t train_vocab = 0;               // its entries, rounded up to a multiple of text::kVocabStep
  std::map<std::string, double> weights{};    // of groups in the tokenizer's training; 1 where absent
  std::int64_t sample_bytes = 128'000'000;    // about so much text is looked at for it
  ReadOptions reading{};
  /// Shares of documents that no file assigns to a split. A document of at least kCutBytes gives its last lines, of
  /// shorter ones some are taken whole. The first document of a group stays in train.
  double valid_share = 0.02;
  double test_share = 0;
  std::int64_t shard_tokens = std::int64_t{1} << 24;
  /// Called often; false ends with kCancelled. `done` and `total` count bytes of text, or merges.
  std::function<bool(std::string_view stage, std::int64_t done, std::int64_t total)> progress{};

  static constexpr std::size_t kCutBytes = std::size_t{1} << 16;
};

/// A prepared set that was written.
struct PreparedSet {
  std::string folder;  // below `out`: "train/books"
  Split split = Split::kTrain;
  TokenSetMeta meta;
  std::vector<std::int64_t> lengths;  // of its documents in tokens, ascending
};

struct PrepareReport {
  std::vector<PreparedSet> sets;             // by split and group
  std::map<std::string, ReadCounts> groups;  // what reading gave, by group
  std::int64_t skipped_files = 0;            // of another kind
  std::int64_t vocab_size = 0;
  std::string tokenizer_sha256;
  bool trained_tokenizer = false;
  std::int64_t unused_tokens = 0;  // entries above the bytes that no document uses; with a trained tokenizer
};

/// Reads the inputs, trains a tokenizer if none is given, and writes
///   OUT/tokenizer.json, tokenizer_config.json   the tokenizer
///   OUT/{train,valid,test}/GROUP/               a prepared set each (docs/formats.md)
///   OUT/prepared.json                           the report
/// All of it stands in OUT.partial until it is complete. Of equal documents one stays, in test before valid before
/// train. Errors: those of find_inputs, read_documents and Tokenizer::load; kInvalidArgument (OUT is not empty, bad
/// shares, a group of texts and chats, weights of a group that does not exist), kCancelled, kResourceExhausted,
/// kUnavailable.
[[nodiscard]] Result<PrepareReport> prepare_data(const PrepareOptions& options);

/// The report as a JSON object.
[[nodiscard]] std::string to_json(const PrepareReport& report);

}  // namespace hadal::train

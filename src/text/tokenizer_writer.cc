#include "text/tokenizer_writer.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "text/byte_characters.h"
#include "text/chat_markers.h"
#include "text/tokenizer_json.h"

namespace hadal::text {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 3> kFirst{marker::kBos, marker::kEos, marker::kPad};

// What the V4 chat encoding writes as one token.
constexpr std::array<std::string_view, 13> kMarkers{
    marker::kUser,           marker::kAssistant, marker::kThink,       marker::kThinkEnd, marker::kDsml,
    marker::kLatestReminder, "<｜action｜>",     "<｜query｜>",        "<｜authority｜>", "<｜domain｜>",
    "<｜title｜>",           "<｜read_url｜>",   "<｜extracted_url｜>"};

constexpr std::int64_t kBytes = 256;
constexpr auto kWithoutMerges =
    static_cast<std::int64_t>(kFirst.size()) + kBytes + static_cast<std::int64_t>(kMarkers.size()) + kReservedTokens;

constexpr std::int64_t round_up(std::int64_t value) { return (value + kVocabStep - 1) / kVocabStep * kVocabStep; }

// Chat markers are not "special" in V4: they stay in a decoded text, where the parser of answers looks for them.
Json added_token(std::int64_t id, std::string_view content, bool is_marker) {
  return {{"id", id},        {"content", content},      {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", is_marker}, {"special", !is_marker}};
}

Json byte_level(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", trim_offsets},
          {"use_regex", use_regex}};
}

Json pre_tokenizer() {
  Json splits = Json::array();
  for (const std::string_view pattern : kV4Patterns) {
    splits.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  splits.push_back(byte_level(false, true, false));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(splits)}};
}

Json model(const TrainedBpe& bpe) {
  const ByteCharacters table;
  Json vocab = Json::object();
  // Readers number the added tokens that the model does not know from the end of its vocabulary on; the first three
  // have their ids because they stand in it.
  auto& entries = vocab.get_ref<Json::object_t&>();
  entries.reserve(kFirst.size() + bpe.symbols.size());
  std::int64_t id = 0;
  for (const std::string_view content : kFirst) entries.emplace_back(std::string(content), id++);
  for (const std::string& symbol : bpe.symbols) entries.emplace_back(table.spell(symbol), id++);
  Json merges = Json::array();
  const auto spelled = [&](std::int32_t symbol) { return table.spell(bpe.symbols[static_cast<std::size_t>(symbol)]); };
  for (const auto& [left, right] : bpe.merges) merges.push_back(spelled(left) + " " + spelled(right));
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false},
          {"vocab", std::move(vocab)},
          {"merges", std::move(merges)}};
}

}  // namespace

Result<std::int64_t> merges_for(std::int64_t vocab_size) {
  if (vocab_size < kWithoutMerges || round_up(vocab_size) > kMaxVocabSize) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a vocabulary of {} entries is not possible: {} are needed for bytes, chat markers and "
                            "reserved tokens, and at most {} are allowed",
                            vocab_size, kWithoutMerges, kMaxVocabSize));
  }
  return round_up(vocab_size) - kWithoutMerges;
}

std::string tokenizer_json(const TrainedBpe& bpe) {
  Json added = Json::array();
  std::int64_t id = 0;
  for (const std::string_view content : kFirst) added.push_back(added_token(id++, content, false));
  id += static_cast<std::int64_t>(bpe.symbols.size());
  for (const std::string_view content : kMarkers) added.push_back(added_token(id++, content, true));
  const std::int64_t vocab_size = round_up(id + kReservedTokens);
  for (int number = 0; id < vocab_size; ++number) {
    added.push_back(added_token(id++, fmt::format("<｜place▁holder▁no▁{}｜>", number), false));
  }
  const Json file = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", std::move(added)},
                     {"normalizer", {{"type", "Sequence"}, {"normalizers", Json::array()}}},
                     {"pre_tokenizer", pre_tokenizer()},
                     {"post_processor", byte_level(true, false, true)},
                     {"decoder", byte_level(true, true, true)},
                     {"model", model(bpe)}};
  return file.dump(2) + "\n";
}

std::string tokenizer_config_json() {
  const auto token = [](std::string_view content) -> Json {
    return {{"__type", "AddedToken"}, {"content", content}, {"lstrip", false},
            {"normalized", false},    {"rstrip", false},    {"single_word", false}};
  };
  const Json file = {{"add_bos_token", false},
                     {"add_eos_token", false},
                     {"bos_token", token(marker::kBos)},
                     {"clean_up_tokenization_spaces", false},
                     {"eos_token", token(marker::kEos)},
                     {"pad_token", token(marker::kPad)},
                     {"tokenizer_class", "PreTrainedTokenizerFast"},
                     {"unk_token", nullptr}};
  return file.dump(2) + "\n";
}

Status write_tokenizer(const std::filesystem::path& directory, const TrainedBpe& bpe) {
  HADAL_TRY(write_file_atomically(directory / "tokenizer.json", tokenizer_json(bpe)));
  return write_file_atomically(directory / "tokenizer_config.json", tokenizer_config_json());
}

}  // namespace hadal::text

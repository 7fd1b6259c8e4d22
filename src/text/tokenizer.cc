#include "text/tokenizer.h"

#include <fmt/format.h>

#include <atomic>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "base/mapped_file.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/byte_characters.h"
#include "text/piece_cache.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_config.h"
#include "text/tokenizer_json.h"
#include "text/vocabulary.h"
#include "text/zstd_file.h"

namespace hadal::text {
namespace {

constexpr std::int64_t kMaxFileBytes = std::int64_t{64} << 20;

// Numbers the tokenizers of this process, so that a thread's cache knows whose pieces it holds.
std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

constexpr ByteCharacters kByteCharacters;

tl::unexpected<Error> in_file(std::string_view where, const Error& error) {
  return fail(error.code, fmt::format("{}: {}", where, error.message));
}

std::string no_such_id(std::int32_t id, std::int64_t vocab_size) {
  return fmt::format("the tokenizer has no token {}; ids go from 0 to {}", id, vocab_size - 1);
}

// replace_ill_formed, with `ranges` moved along: an end inside a replaced part takes all of that part in.
std::string repair(std::string_view text, std::vector<ByteRange>& ranges) {
  constexpr std::int64_t kReplacementBytes = 3;
  std::int64_t shift = 0;
  std::size_t next = 0;  // borders in ascending order: begin of range i is 2i, its end 2i + 1
  const auto border = [&ranges](std::size_t i) -> std::int64_t& {
    return i % 2 == 0 ? ranges[i / 2].begin : ranges[i / 2].end;
  };
  std::int64_t at = 0;
  while (const auto bad = find_ill_formed(text, at)) {
    at = bad->offset + bad->size;
    for (; next < 2 * ranges.size() && border(next) < at; ++next) {
      if (border(next) > bad->offset) border(next) = bad->offset + (next % 2 == 0 ? 0 : kReplacementBytes);
      border(next) += shift;
    }
    shift += kReplacementBytes - bad->size;
  }
  for (; next < 2 * ranges.size(); ++next) border(next) += shift;
  return replace_ill_formed(text);
}

Status check_ranges(std::span<const ByteRange> ranges, std::size_t text_size) {
  std::int64_t last = 0;
  for (const ByteRange& range : ranges) {
    if (range.begin < last || range.end < range.begin || range.end > static_cast<std::int64_t>(text_size)) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("the range of untrusted text [{}, {}) is not ascending inside the text of {} bytes",
                              range.begin, range.end, text_size));
    }
    last = range.end;
  }
  return {};
}

}  // namespace

struct Tokenizer::State {
  Vocabulary vocabulary;
  PreTokenizer pre_tokenizer;
  BytePairEncoder bpe;
  StringMatcher first_pass{};   // added tokens with normalized: false
  StringMatcher second_pass{};  // the others, in what the first pass leaves
  // With ignore_merges: pieces that are a token before anything is merged. Views of the vocabulary's bytes.
  std::unordered_map<std::string_view, std::int32_t> whole_pieces{};
  std::optional<std::int32_t> bos{};
  std::optional<std::int32_t> eos{};
  std::optional<std::int32_t> pad{};
  bool add_bos = false;
  std::optional<std::int64_t> model_max_length{};
  std::uint64_t serial = 0;

  static Result<std::unique_ptr<const State>> make(std::string_view json, std::optional<TokenizerConfig> config);

  // The id of a token that tokenizer_config.json names under `key`.
  Result<std::optional<std::int32_t>> named(const std::optional<std::string>& content, std::string_view key) const {
    if (!content) return std::nullopt;
    const auto id = vocabulary.added_id(*content);
    if (!id) {
      return fail(ErrorCode::kCorrupt,
                  fmt::format("tokenizer_config.json names the {} '{}', which is no added token here", key, *content));
    }
    return id;
  }

  void encode_piece(std::string_view piece, PieceCache& cache, std::vector<std::int32_t>& out) const {
    if (piece.size() > PieceCache::kMaxBytes) return merge_piece(piece, out);
    const PieceCache::Key key = PieceCache::key(serial, piece);
    if (const auto ids = cache.find(key); !ids.empty()) {
      out.insert(out.end(), ids.begin(), ids.end());
      return;
    }
    const std::size_t before = out.size();
    merge_piece(piece, out);
    cache.put(key, std::span(out).subspan(before));
  }

  void merge_piece(std::string_view piece, std::vector<std::int32_t>& out) const {
    if (!whole_pieces.empty()) {
      if (const auto found = whole_pieces.find(piece); found != whole_pieces.end()) return out.push_back(found->second);
    }
    bpe.encode(piece, out);
  }

  Status encode_plain(std::string_view text, std::vector<std::int32_t>& out) const {
    thread_local PieceCache cache;
    return pre_tokenizer.for_each_piece(text, [&](std::string_view piece) { encode_piece(piece, cache, out); });
  }

  // Calls gap(begin, end) and token(id) for text[begin, end) in order.
  template <class Gap, class Token>
  static Status walk(const StringMatcher& matcher, std::string_view text, std::size_t begin, std::size_t end,
                     std::span<const ByteRange>& forbidden, Gap&& gap, Token&& token) {
    const std::string_view seen = text.substr(0, end);
    while (begin < end) {
      const auto match = matcher.find(seen, begin, forbidden);
      const std::size_t gap_end = match ? match->begin : end;
      if (gap_end > begin) HADAL_TRY(gap(begin, gap_end));
      if (!match) break;
      token(match->id);
      begin = match->end;
    }
    return {};
  }

  Status encode(std::string_view text, std::span<const ByteRange> untrusted, std::vector<std::int32_t>& out) const {
    std::span<const ByteRange> first_forbidden = untrusted;
    std::span<const ByteRange> second_forbidden = untrusted;
    const auto token = [&out](std::int32_t id) { out.push_back(id); };
    const auto plain = [&](std::size_t begin, std::size_t end) {
      return encode_plain(text.substr(begin, end - begin), out);
    };
    const auto between = [&](std::size_t begin, std::size_t end) {
      return walk(second_pass, text, begin, end, second_forbidden, plain, token);
    };
    return walk(first_pass, text, 0, text.size(), first_forbidden, between, token);
  }
};

Result<std::unique_ptr<const Tokenizer::State>> Tokenizer::State::make(std::string_view json,
                                                                       std::optional<TokenizerConfig> config) {
  HADAL_ASSIGN(const TokenizerJson file, read_tokenizer_json(json));
  const TokenIndex index(file.vocab);
  HADAL_ASSIGN(Vocabulary vocabulary, Vocabulary::build(file, index));
  HADAL_ASSIGN(const std::vector<Merge> merges, resolve_merges(file, index));
  HADAL_ASSIGN(PreTokenizer pre_tokenizer, PreTokenizer::compile(file.split_patterns));
  BytePairEncoder bpe(vocabulary.byte_ids(), merges);
  auto state = std::make_unique<State>(State{.vocabulary = std::move(vocabulary),
                                             .pre_tokenizer = std::move(pre_tokenizer),
                                             .bpe = std::move(bpe),
                                             .serial = next_serial()});
  for (const auto& token : file.added_tokens) {
    (token.normalized ? state->second_pass : state->first_pass).add(token.content, token.id);
  }
  if (file.ignore_merges) {
    for (const auto& [token, id] : file.vocab) {
      // A token that is not spelled in byte characters is never equal to a piece.
      if (kByteCharacters.bytes(token)) state->whole_pieces.emplace(state->vocabulary.bytes(id), id);
    }
  }
  if (config) {
    HADAL_ASSIGN(state->bos, state->named(config->bos_token, "bos_token"));
    HADAL_ASSIGN(state->eos, state->named(config->eos_token, "eos_token"));
    HADAL_ASSIGN(state->pad, state->named(config->pad_token, "pad_token"));
    state->add_bos = config->add_bos_token;
    state->model_max_length = config->model_max_length;
  } else {
    state->bos = state->vocabulary.added_id("<｜begin▁of▁sentence｜>");
    state->eos = state->vocabulary.added_id("<｜end▁of▁sentence｜>");
    state->pad = state->eos;
  }
  return state;
}

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<TokenizerFiles> read_tokenizer_files(const std::filesystem::path& path) {
  std::error_code ignored;  // what cannot be asked about here fails below with its message
  std::filesystem::path file = path;
  TokenizerFiles files;
  if (std::filesystem::is_directory(path, ignored)) {
    file = path / "tokenizer.json";
    if (!std::filesystem::exists(file, ignored)) file = path / "tokenizer.json.zst";
    if (!std::filesystem::exists(file, ignored)) {
      return fail(ErrorCode::kNotFound,
                  path.string() + ": holds neither tokenizer.json nor tokenizer.json.zst; name the file itself");
    }
    const std::filesystem::path config_file = path / "tokenizer_config.json";
    if (std::filesystem::exists(config_file, ignored)) {
      HADAL_ASSIGN(files.config_json, read_file(config_file, kMaxFileBytes));
      files.config_where = config_file.string();
    }
  }
  files.where = file.string();
  if (file.extension() == ".zst") {
    HADAL_ASSIGN(files.json, read_zstd_file(file, kMaxFileBytes));
  } else {
    HADAL_ASSIGN(files.json, read_file(file, kMaxFileBytes));
  }
  return files;
}

Result<Tokenizer> Tokenizer::load(const std::filesystem::path& path) {
  HADAL_ASSIGN(const TokenizerFiles files, read_tokenizer_files(path));
  return from_files(files);
}

Result<Tokenizer> Tokenizer::from_files(const TokenizerFiles& files) {
  std::optional<TokenizerConfig> config;
  if (files.config_json) {
    auto read = read_tokenizer_config(*files.config_json);
    if (!read) return in_file(files.config_where, read.error());
    config = *std::move(read);
  }
  auto state = State::make(files.json, std::move(config));
  if (!state) return in_file(files.where, state.error());
  return Tokenizer(*std::move(state));
}

Result<Tokenizer> Tokenizer::parse(std::string_view json, std::string_view where) {
  if (json.size() > static_cast<std::size_t>(kMaxFileBytes)) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("{}: has {} bytes, more than the {} that are read of a tokenizer", where, json.size(),
                            kMaxFileBytes));
  }
  auto state = State::make(json, std::nullopt);
  if (!state) return in_file(where, state.error());
  return Tokenizer(*std::move(state));
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > static_cast<std::size_t>(kMaxTextBytes)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the text has {} bytes, more than the {} that are encoded at once; cut it at a line end",
                            text.size(), kMaxTextBytes));
  }
  HADAL_TRY(check_ranges(options.untrusted, text.size()));
  std::vector<ByteRange> untrusted(options.untrusted.begin(), options.untrusted.end());
  std::string repaired;
  if (const auto bad = find_ill_formed(text)) {
    if (options.ill_formed == IllFormedText::kRefuse) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("the text is not UTF-8: the byte 0x{:02X} at offset {} belongs to no character",
                              static_cast<unsigned char>(text[static_cast<std::size_t>(bad->offset)]), bad->offset));
    }
    repaired = repair(text, untrusted);
    text = repaired;
  }
  std::erase_if(untrusted, [](const ByteRange& range) { return range.begin == range.end; });
  std::vector<std::int32_t> ids;
  ids.reserve(text.size() / 3 + 8);
  if (options.added_tokens == AddedTokens::kOff) {
    HADAL_TRY(state_->encode_plain(text, ids));
  } else {
    HADAL_TRY(state_->encode(text, untrusted, ids));
  }
  return ids;
}

Result<std::string> Tokenizer::decode(std::span<const std::int32_t> ids, const DecodeOptions& options) const {
  std::string text;
  text.reserve(ids.size() * 4);
  for (const std::int32_t id : ids) {
    if (!has(id)) return fail(ErrorCode::kInvalidArgument, no_such_id(id, vocab_size()));
    if (!options.skip_special || !is_special(id)) text += state_->vocabulary.bytes(id);
  }
  if (find_ill_formed(text)) return replace_ill_formed(text);
  return text;
}

std::int64_t Tokenizer::vocab_size() const { return state_->vocabulary.size(); }
bool Tokenizer::has(std::int32_t id) const { return state_->vocabulary.has(id); }
std::string_view Tokenizer::token_bytes(std::int32_t id) const {
  return has(id) ? state_->vocabulary.bytes(id) : std::string_view();
}
bool Tokenizer::is_added(std::int32_t id) const { return state_->vocabulary.is_added(id); }
bool Tokenizer::is_special(std::int32_t id) const { return state_->vocabulary.is_special(id); }
std::optional<std::int32_t> Tokenizer::added_token_id(std::string_view content) const {
  return state_->vocabulary.added_id(content);
}
std::optional<std::int32_t> Tokenizer::bos_id() const { return state_->bos; }
std::optional<std::int32_t> Tokenizer::eos_id() const { return state_->eos; }
std::optional<std::int32_t> Tokenizer::pad_id() const { return state_->pad; }
bool Tokenizer::add_bos() const { return state_->add_bos; }
std::optional<std::int64_t> Tokenizer::model_max_length() const { return state_->model_max_length; }

Status DetokenizingStream::push(std::int32_t id, std::string& out) {
  if (!tokenizer_->has(id)) return fail(ErrorCode::kInvalidArgument, no_such_id(id, tokenizer_->vocab_size()));
  if (!options_.skip_special || !tokenizer_->is_special(id)) utf8_.push(tokenizer_->token_bytes(id), out);
  return {};
}

}  // namespace hadal::text

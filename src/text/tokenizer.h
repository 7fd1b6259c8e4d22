#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/utf8.h"

namespace hadal::text {

/// A stretch of a text in bytes, [begin, end).
struct ByteRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// What the strings of added tokens (`<|User|>`, `</think>`, ...) become inside a text.
enum class AddedTokens : std::uint8_t {
  kRecognised,  // their ids, as the official encoder does
  kOff,         // ordinary text
};

enum class IllFormedText : std::uint8_t {
  kRefuse,   // kInvalidArgument with the offset of the first ill-formed byte
  kReplace,  // each maximal ill-formed part becomes one U+FFFD
};

struct EncodeOptions {
  AddedTokens added_tokens = AddedTokens::kRecognised;
  /// Mode "guarded": an added token that overlaps one of these ranges (of the caller's own text, ascending, disjoint,
  /// inside the text) is ordinary text. Ignored with AddedTokens::kOff.
  std::span<const ByteRange> untrusted{};
  IllFormedText ill_formed = IllFormedText::kRefuse;
};

struct DecodeOptions {
  bool skip_special = false;  // leave out the added tokens whose `special` flag is true
};

/// The files that a tokenizer is read from.
struct TokenizerFiles {
  std::string where;  // of the tokenizer.json, for messages
  std::string json;   // tokenizer.json, unpacked
  std::string config_where;
  std::optional<std::string> config_json;  // tokenizer_config.json
};

/// Reads a tokenizer.json, a tokenizer.json.zst, or the one of these that a checkpoint directory holds, there with
/// tokenizer_config.json if present. Errors: kNotFound, kUnavailable, kCorrupt (packed data), kResourceExhausted (more
/// than 64 MiB).
[[nodiscard]] Result<TokenizerFiles> read_tokenizer_files(const std::filesystem::path& path);

/// Byte-level BPE of a tokenizer.json: text <-> token ids. Immutable after loading; every method may be called by
/// several threads at once. Rules and limits: docs/design/tokenizer.md.
class Tokenizer {
 public:
  /// Longest text that encode() takes, in bytes.
  static constexpr std::int64_t kMaxTextBytes = std::int64_t{256} << 20;

  /// From what read_tokenizer_files finds. Errors: its own, and those of from_files.
  [[nodiscard]] static Result<Tokenizer> load(const std::filesystem::path& path);

  /// Errors: kCorrupt (breaks the format), kUnsupported (a feature outside the subset, named).
  [[nodiscard]] static Result<Tokenizer> from_files(const TokenizerFiles& files);

  /// The same from the bytes of a tokenizer.json; `where` names them in messages.
  [[nodiscard]] static Result<Tokenizer> parse(std::string_view json, std::string_view where);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of `text`. Nothing is added in front or behind. Errors: kInvalidArgument (ill-formed UTF-8, bad ranges, a text
  /// above kMaxTextBytes), kResourceExhausted (a split pattern other than V4's needs too many steps).
  [[nodiscard]] Result<std::vector<std::int32_t>> encode(std::string_view text,
                                                         const EncodeOptions& options = {}) const;

  /// Text of `ids`: their bytes in a row, ill-formed parts as U+FFFD. Errors: kInvalidArgument (no such id).
  [[nodiscard]] Result<std::string> decode(std::span<const std::int32_t> ids, const DecodeOptions& options = {}) const;

  /// Highest id + 1 (129,280 for V4).
  [[nodiscard]] std::int64_t vocab_size() const;
  [[nodiscard]] bool has(std::int32_t id) const;
  /// Bytes that the id stands for; empty when there is no such id.
  [[nodiscard]] std::string_view token_bytes(std::int32_t id) const;
  [[nodiscard]] bool is_added(std::int32_t id) const;
  /// The `special` flag: true for BOS, EOS and place holders, false for `<think>` and the chat markers.
  [[nodiscard]] bool is_special(std::int32_t id) const;
  /// Id of the added token with exactly this content.
  [[nodiscard]] std::optional<std::int32_t> added_token_id(std::string_view content) const;

  /// From tokenizer_config.json; without one BOS and EOS are found by V4's names, and PAD is EOS.
  [[nodiscard]] std::optional<std::int32_t> bos_id() const;
  [[nodiscard]] std::optional<std::int32_t> eos_id() const;
  [[nodiscard]] std::optional<std::int32_t> pad_id() const;
  [[nodiscard]] bool add_bos() const;                                  // add_bos_token; false for V4
  [[nodiscard]] std::optional<std::int64_t> model_max_length() const;  // tokens

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

/// Tokens one at a time -> text that may be shown at once, never half a character. The concatenated output equals
/// Tokenizer::decode. A copy is a snapshot (a pointer and at most 3 bytes); the tokenizer must outlive it.
class DetokenizingStream {
 public:
  explicit DetokenizingStream(const Tokenizer& tokenizer, DecodeOptions options = {})
      : tokenizer_(&tokenizer), options_(options) {}

  /// Appends what `id` makes showable to `out`. Error: kInvalidArgument (no such id; nothing changes).
  [[nodiscard]] Status push(std::int32_t id, std::string& out);

  /// Appends U+FFFD for bytes that never became a character, and forgets them.
  void finish(std::string& out) { utf8_.finish(out); }

 private:
  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  Utf8Stream utf8_;
};

}  // namespace hadal::text

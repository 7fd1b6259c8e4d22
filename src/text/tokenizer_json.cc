#include "text/tokenizer_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

namespace hadal::text {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxDepth = 16;
constexpr std::size_t kMaxValues = std::size_t{1} << 20;  // outside of vocab and merges
constexpr std::size_t kMaxSplits = 16;

// Builds a document of everything but `model.vocab` and `model.merges`, which go straight to their vectors: the
// document of a whole file takes ten times its size.
class Reader final : public nlohmann::json_sax<Json> {
 public:
  explicit Reader(TokenizerJson& file) : file_(file) {}

  Json document;
  std::optional<Error> error;
  bool has_vocab = false;   // an object
  bool has_merges = false;  // a list

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(std::int64_t value) override { return integer(value, value >= 0 && value < kMaxVocabSize); }
  bool number_unsigned(std::uint64_t value) override { return integer(value, value < kMaxVocabSize); }
  bool number_float(double value, const std::string& /*text*/) override { return scalar(value); }
  bool string(std::string& value) override {
    if (place_ == Place::kMerges) return merge_text(value);
    if (place_ == Place::kMergePair) {
      if (pair_size_ == 2) return stop(ErrorCode::kCorrupt, "{} has more than two parts", merge_name());
      (pair_size_++ == 0 ? file_.merges.back().left : file_.merges.back().right) = std::move(value);
      return true;
    }
    return scalar(std::move(value));
  }
  bool binary(Json::binary_t& /*value*/) override { return false; }

  bool start_object(std::size_t /*size*/) override {
    if (place_ == Place::kDocument && stack_.size() == 2 && key_ == "model/vocab") {
      place_ = Place::kVocab;
      has_vocab = true;
      return true;
    }
    return container(Json::object());
  }
  bool key(std::string& value) override {
    if (place_ == Place::kVocab) {
      file_.vocab.push_back({std::move(value), -1});
      return true;
    }
    if (stack_.size() == 2 && in_model_) {
      key_ = "model/" + value;
      if ((key_ == "model/vocab" || key_ == "model/merges") && !seen_.insert(key_).second) {
        return stop(ErrorCode::kCorrupt, "the key '{}' stands twice in one object", value);
      }
    } else {
      key_.clear();
      if (stack_.size() == 1) in_model_ = value == "model";
    }
    if (stack_.back()->contains(value)) {
      return stop(ErrorCode::kCorrupt, "the key '{}' stands twice in one object", value);
    }
    slot_ = &(*stack_.back())[value];
    return true;
  }
  bool end_object() override {
    if (place_ == Place::kVocab) {
      place_ = Place::kDocument;
      return true;
    }
    return close();
  }
  bool start_array(std::size_t /*size*/) override {
    if (place_ == Place::kMerges) {
      file_.merges.emplace_back();
      pair_size_ = 0;
      place_ = Place::kMergePair;
      return true;
    }
    if (place_ == Place::kDocument && stack_.size() == 2 && key_ == "model/merges") {
      place_ = Place::kMerges;
      has_merges = true;
      return true;
    }
    return container(Json::array());
  }
  bool end_array() override {
    if (place_ == Place::kMergePair) {
      if (pair_size_ != 2) return stop(ErrorCode::kCorrupt, "{} has less than two parts", merge_name());
      place_ = Place::kMerges;
      return true;
    }
    if (place_ == Place::kMerges) {
      place_ = Place::kDocument;
      return true;
    }
    return close();
  }
  bool parse_error(std::size_t position, const std::string& /*token*/, const Json::exception& /*what*/) override {
    return stop(ErrorCode::kCorrupt, "is not JSON: the syntax breaks at byte {}", position);
  }

 private:
  enum class Place : std::uint8_t { kDocument, kVocab, kMerges, kMergePair };

  template <class... Args>
  bool stop(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
    if (!error) error = Error{code, fmt::format(format, std::forward<Args>(args)...)};
    return false;
  }
  [[nodiscard]] std::string merge_name() const { return fmt::format("model.merges[{}]", file_.merges.size() - 1); }

  bool merge_text(const std::string& value) {
    const std::size_t blank = value.find(' ');
    if (blank == std::string::npos || value.find(' ', blank + 1) != std::string::npos) {
      return stop(ErrorCode::kCorrupt, "model.merges[{}] is not two tokens with a blank between", file_.merges.size());
    }
    file_.merges.push_back({value.substr(0, blank), value.substr(blank + 1)});
    return true;
  }

  template <class Integer>
  bool integer(Integer value, bool in_range) {
    if (place_ != Place::kVocab) return scalar(value);
    if (!in_range) {
      return stop(ErrorCode::kCorrupt, "model.vocab: the token '{}' has the id {}, outside 0..{}",
                  file_.vocab.back().token, value, kMaxVocabSize - 1);
    }
    file_.vocab.back().id = static_cast<std::int32_t>(value);
    return true;
  }

  template <class Value>
  bool scalar(Value&& value) {
    return place(Json(std::forward<Value>(value))) != nullptr;
  }

  bool container(Json value) {
    if (stack_.size() == kMaxDepth) return stop(ErrorCode::kResourceExhausted, "is nested deeper than {}", kMaxDepth);
    Json* const placed = place(std::move(value));
    if (placed == nullptr) return false;
    stack_.push_back(placed);
    return true;
  }

  bool close() {
    stack_.pop_back();
    key_.clear();
    return true;
  }

  Json* place(Json value) {
    if (place_ == Place::kVocab) {
      stop(ErrorCode::kCorrupt, "model.vocab: the id of '{}' is not an integer", file_.vocab.back().token);
      return nullptr;
    }
    if (place_ != Place::kDocument) {
      stop(ErrorCode::kCorrupt, "model.merges[{}] is neither a string nor a pair of strings", file_.merges.size());
      return nullptr;
    }
    if (++values_ > kMaxValues) {
      stop(ErrorCode::kResourceExhausted, "has more than {} values outside of vocab and merges", kMaxValues);
      return nullptr;
    }
    if (stack_.empty()) {
      document = std::move(value);
      return &document;
    }
    if (stack_.back()->is_array()) {
      stack_.back()->push_back(std::move(value));
      return &stack_.back()->back();
    }
    *slot_ = std::move(value);
    return slot_;
  }

  TokenizerJson& file_;
  Place place_ = Place::kDocument;
  std::vector<Json*> stack_;
  Json* slot_ = nullptr;  // where the value of the latest key goes
  bool in_model_ = false;
  std::string key_;  // "model/<key>" directly inside the model, else empty
  std::unordered_set<std::string> seen_;
  int pair_size_ = 0;
  std::size_t values_ = 0;
};

// One object of the document with its path, for messages.
class Fields {
 public:
  static Result<Fields> of(const Json& value, std::string path) {
    if (!value.is_object()) return fail(ErrorCode::kCorrupt, path + " is not an object");
    return Fields(value, std::move(path));
  }

  // The value of `key`; null when it is absent.
  [[nodiscard]] const Json& operator[](const char* key) const {
    static const Json absent;
    const auto found = object_->find(key);
    return found == object_->end() ? absent : *found;
  }
  [[nodiscard]] std::string name(std::string_view key) const {
    return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  }

  Result<bool> boolean(const char* key, std::optional<bool> when_absent = std::nullopt) const {
    const Json& value = (*this)[key];
    if (value.is_null() && when_absent) return *when_absent;
    if (!value.is_boolean()) return fail(ErrorCode::kCorrupt, name(key) + " is not true or false");
    return value.get<bool>();
  }
  Result<std::string> string(const char* key) const {
    const Json& value = (*this)[key];
    if (!value.is_string()) return fail(ErrorCode::kCorrupt, name(key) + " is not a string");
    return value.get<std::string>();
  }
  Status must_be_false(const char* key, std::optional<bool> when_absent = false) const {
    HADAL_ASSIGN(const bool value, boolean(key, when_absent));
    if (value) return unsupported(key, "true", "false");
    return {};
  }
  Status must_be_null(const char* key) const {
    if (!(*this)[key].is_null()) return unsupported(key, "set", "null");
    return {};
  }
  Status must_be(const char* key, std::string_view wanted) const {
    HADAL_ASSIGN(const std::string value, string(key));
    if (value != wanted) return unsupported(key, fmt::format("'{}'", value), fmt::format("'{}'", wanted));
    return {};
  }

 private:
  Fields(const Json& object, std::string path) : object_(&object), path_(std::move(path)) {}
  [[nodiscard]] tl::unexpected<Error> unsupported(const char* key, std::string_view is, std::string_view wanted) const {
    return fail(ErrorCode::kUnsupported, fmt::format("{} is {}, only {} is supported", name(key), is, wanted));
  }
  const Json* object_;
  std::string path_;
};

Status check_byte_level(const Json& value, const std::string& path) {
  HADAL_ASSIGN(const Fields fields, Fields::of(value, path));
  return fields.must_be("type", "ByteLevel");
}

Status read_added_tokens(const Json& list, TokenizerJson& file) {
  if (list.is_null()) return {};
  if (!list.is_array()) return fail(ErrorCode::kCorrupt, "added_tokens is not a list");
  for (std::size_t i = 0; i < list.size(); ++i) {
    HADAL_ASSIGN(const Fields fields, Fields::of(list[i], fmt::format("added_tokens[{}]", i)));
    TokenizerJson::AddedToken token;
    const Json& id = fields["id"];
    if (!id.is_number_integer() || id < 0 || id >= kMaxVocabSize) {
      return fail(ErrorCode::kCorrupt,
                  fmt::format("{} is not an integer in 0..{}", fields.name("id"), kMaxVocabSize - 1));
    }
    token.id = id.get<std::int32_t>();
    HADAL_ASSIGN(token.content, fields.string("content"));
    for (const char* flag : {"single_word", "lstrip", "rstrip"}) HADAL_TRY(fields.must_be_false(flag));
    HADAL_ASSIGN(token.normalized, fields.boolean("normalized"));
    HADAL_ASSIGN(token.special, fields.boolean("special"));
    file.added_tokens.push_back(std::move(token));
  }
  return {};
}

Status check_normalizer(const Json& value) {
  if (value.is_null()) return {};
  HADAL_ASSIGN(const Fields fields, Fields::of(value, "normalizer"));
  HADAL_TRY(fields.must_be("type", "Sequence"));
  const Json& list = fields["normalizers"];
  if (!list.is_array()) return fail(ErrorCode::kCorrupt, "normalizer.normalizers is not a list");
  if (!list.empty())
    return fail(ErrorCode::kUnsupported, "normalizer.normalizers is not empty, only no normalizer is supported");
  return {};
}

Result<std::string> read_split(const Json& value, const std::string& path) {
  HADAL_ASSIGN(const Fields fields, Fields::of(value, path));
  HADAL_TRY(fields.must_be("type", "Split"));
  HADAL_TRY(fields.must_be("behavior", "Isolated"));
  HADAL_TRY(fields.must_be_false("invert", std::nullopt));
  HADAL_ASSIGN(const Fields pattern, Fields::of(fields["pattern"], fields.name("pattern")));
  if (!pattern["String"].is_null()) {
    return fail(ErrorCode::kUnsupported, fields.name("pattern.String") + " is set, only a Regex is supported");
  }
  return pattern.string("Regex");
}

Status read_pre_tokenizer(const Json& value, TokenizerJson& file) {
  HADAL_ASSIGN(const Fields fields, Fields::of(value, "pre_tokenizer"));
  HADAL_TRY(fields.must_be("type", "Sequence"));
  const Json& list = fields["pretokenizers"];
  if (!list.is_array() || list.empty()) {
    return fail(ErrorCode::kCorrupt, "pre_tokenizer.pretokenizers is not a list with a ByteLevel at its end");
  }
  if (list.size() > kMaxSplits + 1) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("pre_tokenizer.pretokenizers has more than {} splits", kMaxSplits));
  }
  const auto path = [](std::size_t i) { return fmt::format("pre_tokenizer.pretokenizers[{}]", i); };
  for (std::size_t i = 0; i + 1 < list.size(); ++i) {
    HADAL_ASSIGN(std::string pattern, read_split(list[i], path(i)));
    file.split_patterns.push_back(std::move(pattern));
  }
  HADAL_ASSIGN(const Fields last, Fields::of(list.back(), path(list.size() - 1)));
  HADAL_TRY(last.must_be("type", "ByteLevel"));
  // Where these are absent the reference takes them as true.
  HADAL_TRY(last.must_be_false("add_prefix_space", true));
  return last.must_be_false("use_regex", true);
}

Status check_model(const Json& value, TokenizerJson& file) {
  HADAL_ASSIGN(const Fields model, Fields::of(value, "model"));
  HADAL_TRY(model.must_be("type", "BPE"));
  HADAL_TRY(model.must_be_null("dropout"));
  HADAL_TRY(model.must_be_null("unk_token"));
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model[affix] != "") HADAL_TRY(model.must_be_null(affix));
  }
  HADAL_TRY(model.must_be_false("fuse_unk"));
  HADAL_TRY(model.must_be_false("byte_fallback"));
  HADAL_ASSIGN(file.ignore_merges, model.boolean("ignore_merges", false));
  return {};
}

Status read_document(const Json& document, TokenizerJson& file) {
  HADAL_ASSIGN(const Fields root, Fields::of(document, ""));
  if (!root["version"].is_null()) HADAL_TRY(root.must_be("version", "1.0"));
  HADAL_TRY(root.must_be_null("truncation"));
  HADAL_TRY(root.must_be_null("padding"));
  HADAL_TRY(check_normalizer(root["normalizer"]));
  HADAL_TRY(read_pre_tokenizer(root["pre_tokenizer"], file));
  if (!root["post_processor"].is_null()) HADAL_TRY(check_byte_level(root["post_processor"], "post_processor"));
  HADAL_TRY(check_byte_level(root["decoder"], "decoder"));
  HADAL_TRY(check_model(root["model"], file));
  return read_added_tokens(root["added_tokens"], file);
}

}  // namespace

Result<TokenizerJson> read_tokenizer_json(std::string_view json) {
  TokenizerJson file;
  Reader reader(file);
  try {
    if (!Json::sax_parse(json, &reader)) {
      if (reader.error) return tl::unexpected<Error>(*std::move(reader.error));
      return fail(ErrorCode::kCorrupt, "is not JSON");
    }
  } catch (const Json::exception& error) {
    return fail(ErrorCode::kCorrupt, fmt::format("is not JSON: {}", error.what()));
  }
  if (!reader.document.is_object()) return fail(ErrorCode::kCorrupt, "is not a JSON object");
  HADAL_TRY(read_document(reader.document, file));
  if (!reader.has_vocab) return fail(ErrorCode::kCorrupt, "model.vocab is not an object");
  if (!reader.has_merges) return fail(ErrorCode::kCorrupt, "model.merges is not a list");
  return file;
}

}  // namespace hadal::text

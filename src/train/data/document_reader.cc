#include "train/data/document_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "base/sha256.h"
#include "text/chat_json.h"
#include "text/json_text.h"
#include "text/utf8.h"
#include "train/data/text_file.h"

namespace hadal::train {
namespace {

using text::JsonKind;
using text::JsonValue;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// A record of a JSONL file.
struct Record {
  Document document;
  std::string book;
  std::int64_t chapter = 0;
};

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n\f\v") == std::string_view::npos; }

Result<std::string> string_member(const JsonValue& object, std::string_view key) {
  const JsonValue* const value = object.find(key);
  if (value == nullptr || value->is(JsonKind::kNull)) return std::string();
  if (!value->is(JsonKind::kString)) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("the member '{}' is not a text", key));
  }
  return value->text;
}

Result<Record> read_record(const JsonValue& object, const std::string& group) {
  if (!object.is(JsonKind::kObject)) return fail(ErrorCode::kInvalidArgument, "is not a JSON object");
  const JsonValue* const messages = object.find("messages");
  const JsonValue* const words = object.find("text");
  if ((messages == nullptr) == (words == nullptr)) {
    return fail(ErrorCode::kInvalidArgument, "needs either a member 'text' or a member 'messages'");
  }
  Record record;
  if (messages != nullptr) {
    HADAL_ASSIGN(record.document.messages, text::messages_from_json(*messages, "messages"));
  } else {
    HADAL_ASSIGN(record.document.text, string_member(object, "text"));
  }
  HADAL_ASSIGN(record.document.source, string_member(object, "source"));
  if (record.document.source.empty()) record.document.source = group;
  HADAL_ASSIGN(record.book, string_member(object, "book"));
  if (const JsonValue* const chapter = object.find("chapter"); chapter != nullptr && chapter->is(JsonKind::kNumber)) {
    std::from_chars(chapter->text.data(), chapter->text.data() + chapter->text.size(), record.chapter);
  }
  return record;
}

// What makes two documents the same.
std::string identity(const Document& document) {
  return document.is_chat() ? text::to_json(text::messages_to_json(document.messages)) : document.text;
}

bool is_empty(const Document& document) {
  if (!document.is_chat()) return is_blank(document.text);
  return std::none_of(document.messages.begin(), document.messages.end(), [](const text::Message& message) {
    return message.role == "assistant" && (!is_blank(message.content.text) || !message.tool_calls.empty());
  });
}

class Reader {
 public:
  Reader(const InputFile& file, const ReadOptions& options, SeenTexts& seen, ReadCounts& counts,
         const std::function<Status(Document&&)>& sink)
      : file_(file), options_(options), seen_(seen), counts_(counts), sink_(sink) {}

  Status read(const std::function<bool(std::int64_t)>& progress) {
    HADAL_ASSIGN(TextFile input, TextFile::open(file_.path));
    const std::string separator = file_.is_lines ? "\n" : options_.separator;
    std::string_view stretch;
    std::int64_t line = 0;
    while (true) {
      HADAL_ASSIGN(const bool more, input.next(separator, stretch));
      if (!more) break;
      ++line;
      if (line == 1 && stretch.starts_with(kByteOrderMark)) stretch.remove_prefix(kByteOrderMark.size());
      if (file_.is_lines) {
        if (is_blank(stretch)) continue;
        auto taken = take_line(stretch);
        if (!taken) return at_line(line, taken.error());
      } else {
        HADAL_TRY(take_text(stretch));
      }
      if (!progress(input.position())) return fail(ErrorCode::kCancelled, "interrupted; nothing was written");
    }
    return flush();
  }

 private:
  tl::unexpected<Error> at_line(std::int64_t line, const Error& error) const {
    if (error.code == ErrorCode::kCancelled) return tl::unexpected(error);
    return fail(error.code, fmt::format("{}, line {}: {}", file_.path.string(), line, error.message));
  }

  Status take_line(std::string_view line) {
    ++counts_.records;
    const auto object = text::parse_json(line, {.bytes = TextFile::kMaxStretch});
    if (!object) {
      // The reader's word for bytes or escapes that are no characters.
      if (object.error().code != ErrorCode::kInvalidArgument) return tl::unexpected(object.error());
      ++counts_.dropped.ill_formed;
      return flush();
    }
    HADAL_ASSIGN(Record record, read_record(*object, file_.group));
    if (!accept(record.document)) return flush();
    const bool joins = options_.join_books && waiting_ && !record.book.empty() && record.book == waiting_->book &&
                       (record.chapter == waiting_->chapter || record.chapter == waiting_->chapter + 1);
    if (joins) {
      waiting_->document.text.append("\n\n").append(record.document.text);
      waiting_->chapter = record.chapter;
      ++counts_.joined;
      return {};
    }
    HADAL_TRY(flush());
    waiting_ = std::move(record);
    return {};
  }

  Status take_text(std::string_view stretch) {
    ++counts_.records;
    Document document{.text = std::string(stretch), .messages = {}, .source = file_.group};
    if (text::find_ill_formed(stretch)) {
      ++counts_.dropped.ill_formed;
      return {};
    }
    return accept(document) ? sink_(std::move(document)) : Status{};
  }

  // Counts a document that is not to be used.
  bool accept(const Document& document) {
    if (is_empty(document)) {
      ++counts_.dropped.empty;
      return false;
    }
    if (!seen_.insert(identity(document))) {
      ++counts_.dropped.duplicate;
      return false;
    }
    return true;
  }

  Status flush() {
    if (!waiting_) return {};
    Document document = std::move(waiting_->document);
    waiting_.reset();
    return sink_(std::move(document));
  }

  const InputFile& file_;
  const ReadOptions& options_;
  SeenTexts& seen_;
  ReadCounts& counts_;
  const std::function<Status(Document&&)>& sink_;
  std::optional<Record> waiting_;  // may still be joined
};

}  // namespace

DropCounts& DropCounts::operator+=(const DropCounts& other) {
  ill_formed += other.ill_formed;
  empty += other.empty;
  duplicate += other.duplicate;
  return *this;
}

bool SeenTexts::insert(std::string_view bytes) {
  const Sha256Digest digest = sha256(bytes);
  Key key;
  std::memcpy(&key.low, digest.data(), sizeof(key.low));
  std::memcpy(&key.high, digest.data() + sizeof(key.low), sizeof(key.high));
  return seen_.insert(key).second;
}

Status read_documents(const InputFile& file, const ReadOptions& options, SeenTexts& seen, ReadCounts& counts,
                      const std::function<bool(std::int64_t bytes)>& progress,
                      const std::function<Status(Document&&)>& document) {
  return Reader(file, options, seen, counts, document).read(progress);
}

}  // namespace hadal::train

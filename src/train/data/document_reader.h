#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "text/chat_message.h"
#include "train/data/inputs.h"

namespace hadal::train {

/// One document: a text or a chat.
struct Document {
  std::string text;                     // empty for a chat
  std::vector<text::Message> messages;  // empty for a text
  std::string source;                   // the record's `source`, else the group's name

  [[nodiscard]] bool is_chat() const { return !messages.empty(); }
};

/// Why records or documents did not get into the data.
struct DropCounts {
  std::int64_t ill_formed = 0;  // not UTF-8
  std::int64_t empty = 0;       // nothing but white space; a chat without an answer
  std::int64_t duplicate = 0;   // the same bytes were there before

  DropCounts& operator+=(const DropCounts& other);
  [[nodiscard]] std::int64_t total() const { return ill_formed + empty + duplicate; }
};

/// Hashes of what has been read, to find exact duplicates.
class SeenTexts {
 public:
  /// False when the same bytes came before.
  bool insert(std::string_view bytes);

 private:
  struct Key {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    std::size_t operator()(const Key& key) const { return key.low; }
  };
  std::unordered_set<Key, Hash> seen_;
};

struct ReadOptions {
  /// Records of one book that follow each other (same or next chapter) become one document, an empty line between.
  bool join_books = false;
  std::string separator{};  // between documents in text files; empty: a file is a document
};

/// What reading a file has shown.
struct ReadCounts {
  std::int64_t records = 0;
  std::int64_t joined = 0;  // records that were put to the document before
  DropCounts dropped;
};

/// Calls document(Document&&) -> Status for each document of `file`, in its order. Looks at progress(bytes) now and
/// then; false ends with kCancelled. Errors: those of TextFile; kCorrupt or kInvalidArgument with file and line (not a
/// JSON object with a `text` or `messages`, a member of another type).
[[nodiscard]] Status read_documents(const InputFile& file, const ReadOptions& options, SeenTexts& seen,
                                    ReadCounts& counts, const std::function<bool(std::int64_t bytes)>& progress,
                                    const std::function<Status(Document&&)>& document);

}  // namespace hadal::train

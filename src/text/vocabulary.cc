#include "text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "text/added_tokens.h"
#include "text/byte_characters.h"

namespace hadal::text {
namespace {

using IdOfToken = std::unordered_map<std::string_view, std::int32_t>;

constexpr ByteCharacters kByteCharacters;

IdOfToken index_tokens(const TokenizerJson& file) {
  IdOfToken ids;
  ids.reserve(file.vocab.size());
  for (const TokenizerJson::VocabEntry& entry : file.vocab) ids.emplace(entry.token, entry.id);
  return ids;
}

}  // namespace

Result<Vocabulary> Vocabulary::build(const TokenizerJson& file) {
  std::int32_t highest = -1;
  for (const auto& entry : file.vocab) highest = std::max(highest, entry.id);
  for (const auto& token : file.added_tokens) highest = std::max(highest, token.id);
  Vocabulary vocabulary;
  const auto size = static_cast<std::size_t>(highest + 1);
  vocabulary.flags_.resize(size);
  std::vector<const std::string*> spelled(size);

  std::unordered_set<std::string_view> model_tokens;
  model_tokens.reserve(file.vocab.size());
  for (const auto& [token, id] : file.vocab) {
    const auto at = static_cast<std::size_t>(id);
    if (spelled[at] != nullptr) {
      return fail(ErrorCode::kCorrupt,
                  fmt::format("model.vocab: '{}' and '{}' have the same id {}", *spelled[at], token, id));
    }
    if (!model_tokens.insert(token).second) {
      return fail(ErrorCode::kCorrupt, fmt::format("model.vocab: the token '{}' stands twice", token));
    }
    spelled[at] = &token;
    vocabulary.flags_[at] = kExists;
  }
  for (std::size_t i = 0; i < file.added_tokens.size(); ++i) {
    const auto& token = file.added_tokens[i];
    const auto at = static_cast<std::size_t>(token.id);
    const auto name = [&] { return fmt::format("added_tokens[{}] ('{}', id {})", i, token.content, token.id); };
    if (token.content.empty() || token.content.size() > StringMatcher::kMaxContent) {
      return fail(ErrorCode::kUnsupported, fmt::format("{} has {} bytes of content, 1..{} are supported", name(),
                                                       token.content.size(), StringMatcher::kMaxContent));
    }
    if ((vocabulary.flags_[at] & kAdded) != 0) return fail(ErrorCode::kCorrupt, name() + " repeats an id");
    const bool same = spelled[at] != nullptr && *spelled[at] == token.content;
    if (!same && (spelled[at] != nullptr || model_tokens.contains(token.content))) {
      return fail(ErrorCode::kCorrupt, name() + " contradicts model.vocab");
    }
    spelled[at] = &token.content;
    vocabulary.flags_[at] = static_cast<std::uint8_t>(kExists | kAdded | (token.special ? kSpecial : 0));
    vocabulary.added_.emplace_back(token.content, token.id);
  }
  std::sort(vocabulary.added_.begin(), vocabulary.added_.end());
  const auto twice = std::adjacent_find(vocabulary.added_.begin(), vocabulary.added_.end(),
                                        [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice != vocabulary.added_.end()) {
    return fail(ErrorCode::kCorrupt, fmt::format("added_tokens: the content '{}' stands twice", twice->first));
  }

  vocabulary.byte_ids_.fill(-1);
  vocabulary.begins_.reserve(size + 1);
  for (std::size_t id = 0; id < size; ++id) {
    vocabulary.begins_.push_back(static_cast<std::uint32_t>(vocabulary.blob_.size()));
    if (spelled[id] == nullptr) continue;
    const std::optional<std::string> bytes = kByteCharacters.bytes(*spelled[id]);
    // Only the model's tokens are symbols of the merges.
    if (bytes && bytes->size() == 1 && model_tokens.contains(*spelled[id])) {
      vocabulary.byte_ids_[static_cast<unsigned char>(bytes->front())] = static_cast<std::int32_t>(id);
    }
    vocabulary.blob_ += bytes ? *bytes : *spelled[id];
  }
  vocabulary.begins_.push_back(static_cast<std::uint32_t>(vocabulary.blob_.size()));
  vocabulary.blob_.shrink_to_fit();
  const auto missing = std::find(vocabulary.byte_ids_.begin(), vocabulary.byte_ids_.end(), -1);
  if (missing != vocabulary.byte_ids_.end()) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("model.vocab: the byte 0x{:02X} has no token", missing - vocabulary.byte_ids_.begin()));
  }
  return vocabulary;
}

std::optional<std::int32_t> Vocabulary::added_id(std::string_view content) const {
  const auto found = std::lower_bound(added_.begin(), added_.end(), content,
                                      [](const auto& entry, std::string_view wanted) { return entry.first < wanted; });
  if (found == added_.end() || found->first != content) return std::nullopt;
  return found->second;
}

Result<std::vector<Merge>> resolve_merges(const TokenizerJson& file) {
  const IdOfToken ids = index_tokens(file);
  std::vector<Merge> merges;
  merges.reserve(file.merges.size());
  std::unordered_set<std::uint64_t> pairs;
  pairs.reserve(file.merges.size());
  std::string result;
  for (std::size_t i = 0; i < file.merges.size(); ++i) {
    const auto& [left, right] = file.merges[i];
    result.assign(left).append(right);
    Merge merge;
    for (const auto& [token, id] : {std::pair<const std::string*, std::int32_t*>{&left, &merge.left},
                                    {&right, &merge.right},
                                    {&result, &merge.result}}) {
      const auto found = ids.find(*token);
      if (found == ids.end()) {
        return fail(ErrorCode::kCorrupt, fmt::format("model.merges[{}]: '{}' is not in model.vocab", i, *token));
      }
      *id = found->second;
    }
    if (!pairs.insert(static_cast<std::uint64_t>(merge.left) << 32 | static_cast<std::uint64_t>(merge.right)).second) {
      return fail(ErrorCode::kCorrupt,
                  fmt::format("model.merges[{}]: the pair '{}', '{}' stands twice", i, left, right));
    }
    merges.push_back(merge);
  }
  return merges;
}

}  // namespace hadal::text

#include "text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "text/added_tokens.h"
#include "text/byte_characters.h"

namespace hadal::text {
namespace {

constexpr ByteCharacters kByteCharacters;

}  // namespace

Result<Vocabulary> Vocabulary::build(const TokenizerJson& file, const TokenIndex& index) {
  std::int32_t highest = -1;
  for (const auto& entry : file.vocab) highest = std::max(highest, entry.id);
  for (const auto& token : file.added_tokens) highest = std::max(highest, token.id);
  Vocabulary vocabulary;
  const auto size = static_cast<std::size_t>(highest + 1);
  vocabulary.flags_.resize(size);
  std::vector<const std::string*> spelled(size);
  for (const auto& [token, id] : file.vocab) {
    const auto at = static_cast<std::size_t>(id);
    if (spelled[at] != nullptr) {
      return fail(ErrorCode::kCorrupt,
                  fmt::format("model.vocab: '{}' and '{}' have the same id {}", *spelled[at], token, id));
    }
    if (index.id(token) != id) {
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
    if (!same && (spelled[at] != nullptr || index.id(token.content))) {
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
    if (bytes && bytes->size() == 1 && index.id(*spelled[id])) {
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

Result<std::vector<Merge>> resolve_merges(const TokenizerJson& file, const TokenIndex& index) {
  std::vector<Merge> merges;
  merges.reserve(file.merges.size());
  std::vector<std::pair<std::uint64_t, std::size_t>> pairs;  // both ids of a merge, and its place
  pairs.reserve(file.merges.size());
  std::string result;
  for (std::size_t i = 0; i < file.merges.size(); ++i) {
    const auto& [left, right] = file.merges[i];
    result.assign(left).append(right);
    Merge merge;
    for (const auto& [token, id] : {std::pair<const std::string*, std::int32_t*>{&left, &merge.left},
                                    {&right, &merge.right},
                                    {&result, &merge.result}}) {
      const std::optional<std::int32_t> found = index.id(*token);
      if (!found) {
        return fail(ErrorCode::kCorrupt, fmt::format("model.merges[{}]: '{}' is not in model.vocab", i, *token));
      }
      *id = *found;
    }
    pairs.emplace_back(static_cast<std::uint64_t>(merge.left) << 32 | static_cast<std::uint64_t>(merge.right), i);
    merges.push_back(merge);
  }
  std::sort(pairs.begin(), pairs.end());
  const auto twice =
      std::adjacent_find(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice != pairs.end()) {
    const std::size_t at = std::next(twice)->second;
    return fail(ErrorCode::kCorrupt, fmt::format("model.merges[{}]: the pair '{}', '{}' stands twice", at,
                                                 file.merges[at].left, file.merges[at].right));
  }
  return merges;
}

}  // namespace hadal::text

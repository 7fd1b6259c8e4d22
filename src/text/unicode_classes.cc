#include "text/unicode_classes.h"

#include <algorithm>
#include <map>

#include "text/unicode_additions.h"

namespace hadal::text {
namespace {

struct ClassRange {
  char32_t first;
  char32_t last;
  CharClass value;
};

constexpr CharClass L = CharClass::kLetterOrMark;
constexpr CharClass N = CharClass::kNumber;
constexpr CharClass P = CharClass::kPunctuationOrSymbol;
constexpr ClassRange kRanges[] = {
#include "text/unicode_classes.inc"
};

// The second split of V4's pre-tokenizer.
constexpr CodePointRange kHanRanges[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};

}  // namespace

ClassTable::ClassTable() {
  std::vector<ClassByte> flat(0x110000);
  const auto fill = [&flat](char32_t first, char32_t last, CharClass value) {
    std::fill(flat.begin() + static_cast<std::ptrdiff_t>(first), flat.begin() + static_cast<std::ptrdiff_t>(last) + 1,
              static_cast<ClassByte>(value));
  };
  for (const ClassRange& range : kRanges) fill(range.first, range.last, range.value);
  for (const CodePointRange& range : kWhiteSpace) fill(range.first, range.last, CharClass::kSpace);
  fill('\n', '\n', CharClass::kNewline);
  fill('\r', '\r', CharClass::kNewline);
  for (const CodePointRange& range : kHanRanges) {
    for (char32_t code_point = range.first; code_point <= range.last; ++code_point) flat[code_point] |= kHanBit;
  }
  std::map<std::vector<ClassByte>, std::uint16_t> known;
  for (std::size_t block = 0; block < index_.size(); ++block) {
    const auto begin = flat.begin() + static_cast<std::ptrdiff_t>(block * kBlock);
    const std::vector<ClassByte> content(begin, begin + kBlock);
    const auto [found, is_new] = known.try_emplace(content, static_cast<std::uint16_t>(known.size()));
    if (is_new) blocks_.insert(blocks_.end(), content.begin(), content.end());
    index_[block] = found->second;
  }
}

const ClassTable& ClassTable::get() {
  static const ClassTable table;
  return table;
}

}  // namespace hadal::text

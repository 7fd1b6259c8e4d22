#include "text/utf8.h"

#include <algorithm>
#include <cstring>

namespace hadal::text {
namespace {

enum class Shape : std::uint8_t { kWhole, kCut, kIllFormed };

struct Sequence {
  Shape shape = Shape::kIllFormed;
  int size = 1;  // bytes that belong together
};

// The sequence at the start of `bytes` (not empty). kCut: the bytes end before it does, and all so far are right.
Sequence sequence_at(std::string_view bytes) {
  const auto byte = [bytes](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {Shape::kWhole, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Shape::kIllFormed, 1};
  const int size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte alone decides about overlong forms, surrogates and values above U+10FFFF.
  const unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (int i = 1; i < size; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (at == bytes.size()) return {Shape::kCut, i};
    if (byte(at) < (i == 1 ? low : 0x80) || byte(at) > (i == 1 ? high : 0xBF)) return {Shape::kIllFormed, i};
  }
  return {Shape::kWhole, size};
}

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// The first two of a surrogate's three bytes. Ill-formed, but the reference decoder shows them only with the third.
bool is_half_surrogate(std::string_view bytes) {
  return bytes.size() == 2 && bytes[0] == '\xED' && static_cast<unsigned char>(bytes[1]) >= 0xA0 &&
         static_cast<unsigned char>(bytes[1]) <= 0xBF;
}

}  // namespace

std::optional<IllFormed> find_ill_formed(std::string_view bytes, std::int64_t from) {
  auto at = static_cast<std::size_t>(from);
  while (at < bytes.size()) {
    if (at + sizeof(std::uint64_t) <= bytes.size()) {
      std::uint64_t word = 0;
      std::memcpy(&word, bytes.data() + at, sizeof(word));
      if ((word & 0x8080808080808080U) == 0) {
        at += sizeof(word);
        continue;
      }
    }
    const Sequence sequence = sequence_at(bytes.substr(at));
    if (sequence.shape != Shape::kWhole) return IllFormed{static_cast<std::int64_t>(at), sequence.size};
    at += static_cast<std::size_t>(sequence.size);
  }
  return std::nullopt;
}

std::string replace_ill_formed(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  std::int64_t at = 0;
  while (const auto bad = find_ill_formed(bytes, at)) {
    out.append(bytes.substr(static_cast<std::size_t>(at), static_cast<std::size_t>(bad->offset - at)));
    out.append(kReplacement);
    at = bad->offset + bad->size;
  }
  return out.append(bytes.substr(static_cast<std::size_t>(at)));
}

std::int64_t count_characters(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

void append_utf8(char32_t code_point, std::string& out) {
  const auto put = [&out](char32_t byte) { out.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3F));
    put(0x80 | (code_point >> 6 & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  while (held_size_ > 0 && !bytes.empty()) {
    if (is_half_surrogate(undecided())) {
      finish(out);
      break;
    }
    held_[held_size_] = bytes.front();
    const std::string_view tried(held_.data(), held_size_ + std::size_t{1});
    const Shape shape = sequence_at(tried).shape;
    if (shape == Shape::kIllFormed && !is_half_surrogate(tried)) {
      finish(out);  // the new byte starts afresh
      break;
    }
    bytes.remove_prefix(1);
    ++held_size_;
    if (shape == Shape::kWhole) {
      out.append(tried);
      held_size_ = 0;
    }
  }
  while (!bytes.empty()) {
    const auto bad = find_ill_formed(bytes);
    if (!bad) {
      out.append(bytes);
      return;
    }
    const auto offset = static_cast<std::size_t>(bad->offset);
    out.append(bytes.substr(0, offset));
    bytes.remove_prefix(offset);
    if (sequence_at(bytes).shape == Shape::kCut || is_half_surrogate(bytes)) {
      std::copy(bytes.begin(), bytes.end(), held_.begin());
      held_size_ = static_cast<std::uint8_t>(bytes.size());
      return;
    }
    out.append(kReplacement);
    bytes.remove_prefix(static_cast<std::size_t>(bad->size));
  }
}

void Utf8Stream::finish(std::string& out) {
  // What is held is one maximal part, but for half a surrogate, whose bytes are one each.
  if (held_size_ > 0) out.append(kReplacement);
  if (is_half_surrogate(undecided())) out.append(kReplacement);
  held_size_ = 0;
}

}  // namespace hadal::text

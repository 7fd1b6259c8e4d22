#include <array>
#include <bit>
#include <cstring>
#include <iterator>
#include <optional>
#include <ranges>
#include <type_traits>

#include "api/replay_map.h"

// The bytes of a replay map: docs/formats.md.
namespace hadal::api {
namespace {

static_assert(std::endian::native == std::endian::little, "the file's numbers are little-endian");

struct Header {
  std::array<char, 8> magic{'H', 'A', 'D', 'A', 'L', 'R', 'P', 'L'};
  std::uint64_t version = 1;
  Hash128 identity{};
  std::uint64_t turns = 0;
};

struct TurnHeader {
  Hash128 key{}, calls{};
  std::uint32_t domain_bytes = 0;
  std::uint32_t ids = 0;
};

template <class T>
void append(std::string& out, std::span<const T> values) {
  static_assert(std::is_trivially_copyable_v<T>);
  const std::size_t begin = out.size();
  out.resize(begin + values.size_bytes());
  if (!values.empty()) std::memcpy(out.data() + begin, values.data(), values.size_bytes());
}

/// Takes values from the front; false when they are cut short.
template <class T>
bool take(std::span<const char>& bytes, std::span<T> values) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes.size() < values.size_bytes()) return false;
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size_bytes());
  bytes = bytes.subspan(values.size_bytes());
  return true;
}

struct SavedTurn {
  TurnHeader header;
  std::string domain;
  std::vector<std::int32_t> ids;
};

std::optional<SavedTurn> take_turn(std::span<const char>& bytes) {
  SavedTurn turn;
  if (!take(bytes, std::span(&turn.header, 1))) return std::nullopt;
  const std::size_t rest = turn.header.domain_bytes + std::size_t{turn.header.ids} * sizeof(std::int32_t);
  if (bytes.size() < rest) return std::nullopt;  // before anything of that size exists
  turn.domain.resize(turn.header.domain_bytes);
  turn.ids.resize(turn.header.ids);
  if (!take(bytes, std::span(turn.domain)) || !take(bytes, std::span(turn.ids))) return std::nullopt;
  return turn;
}

std::uint64_t sum_of(std::span<const char> bytes) { return checksum(std::as_bytes(bytes)); }

}  // namespace

std::string ReplayMap::save(const Hash128& identity) const {
  const std::scoped_lock lock(mutex_);
  std::string out;
  const Header header{.identity = identity, .turns = turns_.size()};
  append(out, std::span(&header, 1));
  for (const Turn& turn : turns_ | std::views::reverse) {
    const TurnHeader head{.key = turn.key,
                          .calls = turn.calls,
                          .domain_bytes = static_cast<std::uint32_t>(turn.domain->name.size()),
                          .ids = static_cast<std::uint32_t>(turn.ids.size())};
    append(out, std::span(&head, 1));
    out += turn.domain->name;
    append(out, std::span(turn.ids));
  }
  const std::uint64_t sum = sum_of(out);
  append(out, std::span(&sum, 1));
  return out;
}

Status ReplayMap::load(std::string_view text, const Hash128& identity) {
  const std::span<const char> bytes(text);
  const auto damaged = [] { return fail(ErrorCode::kCorrupt, "the saved replay map is damaged; remove it"); };
  Header header;
  std::uint64_t sum = 0;
  if (bytes.size() < sizeof(header) + sizeof(sum)) return damaged();
  std::span<const char> body = bytes.first(bytes.size() - sizeof(sum));
  std::span<const char> tail = bytes.last(sizeof(sum));
  if (!take(tail, std::span(&sum, 1)) || sum != sum_of(body)) return damaged();
  if (!take(body, std::span(&header, 1)) || header.magic != Header{}.magic) return damaged();
  if (header.version != Header{}.version || header.identity != identity) {
    return fail(ErrorCode::kUnsupported, "the saved replay map is of another version or model; remove it");
  }
  std::vector<SavedTurn> turns;
  while (!body.empty()) {
    auto turn = take_turn(body);
    if (!turn) return damaged();
    turns.push_back(std::move(*turn));
  }
  if (turns.size() != header.turns) return damaged();
  const std::scoped_lock lock(mutex_);
  for (const SavedTurn& turn : turns) insert(turn.domain, turn.header.key, turn.header.calls, turn.ids);
  return {};
}

}  // namespace hadal::api

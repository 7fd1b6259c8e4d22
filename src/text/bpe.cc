#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

namespace hadal::text {
namespace {

// Up to this length a scan over all pairs for each merge is faster than a heap.
constexpr std::size_t kShortPiece = 128;

}  // namespace

BytePairEncoder::BytePairEncoder(const std::array<std::int32_t, 256>& byte_ids, std::span<const Merge> merges)
    : byte_ids_(byte_ids), byte_ranks_(std::size_t{1} << 16, kNone) {
  const std::size_t capacity = std::bit_ceil(std::max<std::size_t>(merges.size() * 2, 16));
  slots_.resize(capacity);
  filter_.resize(capacity / 16);
  shift_ = 64 - std::countr_zero(capacity);
  results_.reserve(merges.size());
  for (const Merge& merge : merges) {
    const std::uint64_t hashed = hash(merge.left, merge.right);
    const std::uint64_t bit = hashed >> (shift_ - 2);
    filter_[bit / 64] |= std::uint64_t{1} << bit % 64;
    std::size_t at = hashed >> shift_;
    while (slots_[at].rank != kNone) at = (at + 1) & (capacity - 1);
    slots_[at] = {merge.left, merge.right, static_cast<std::uint32_t>(results_.size())};
    results_.push_back(merge.result);
  }
  // Which byte an id is, so that the table of byte pairs is filled from the merges, not by 65,536 look-ups.
  std::vector<std::pair<std::int32_t, std::size_t>> bytes;
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) bytes.emplace_back(byte_ids_[byte], byte);
  std::sort(bytes.begin(), bytes.end());
  const auto byte_of = [&bytes](std::int32_t id) {
    return std::lower_bound(bytes.begin(), bytes.end(), std::pair{id, std::size_t{0}});
  };
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto left = byte_of(merges[rank].left);
    const auto right = byte_of(merges[rank].right);
    if (left == bytes.end() || left->first != merges[rank].left) continue;
    if (right == bytes.end() || right->first != merges[rank].right) continue;
    byte_ranks_[left->second << 8 | right->second] = static_cast<std::uint32_t>(rank);
  }
}

std::uint64_t BytePairEncoder::hash(std::int32_t left, std::int32_t right) {
  const std::uint64_t key = static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint64_t>(right);
  return key * 0x9E3779B97F4A7C15U ^ key * 0xC2B2AE3D27D4EB4FU >> 32;
}

std::uint32_t BytePairEncoder::rank(std::int32_t left, std::int32_t right) const {
  const std::uint64_t hashed = hash(left, right);
  const std::uint64_t bit = hashed >> (shift_ - 2);
  if ((filter_[bit / 64] >> bit % 64 & 1) == 0) return kNone;
  for (std::size_t at = hashed >> shift_;; at = (at + 1) & (slots_.size() - 1)) {
    const Slot& slot = slots_[at];
    if (slot.rank == kNone || (slot.left == left && slot.right == right)) return slot.rank;
  }
}

void BytePairEncoder::encode(std::string_view piece, std::vector<std::int32_t>& out) const {
  if (piece.size() <= kShortPiece) {
    encode_short(piece, out);
  } else {
    encode_long(piece, out);
  }
}

void BytePairEncoder::encode_short(std::string_view piece, std::vector<std::int32_t>& out) const {
  std::array<std::int32_t, kShortPiece> ids;
  std::array<std::uint32_t, kShortPiece> ranks;  // of the pair that begins there; the last has none
  std::size_t count = piece.size();
  for (std::size_t i = 0; i < count; ++i) ids[i] = byte_ids_[static_cast<unsigned char>(piece[i])];
  for (std::size_t i = 0; i + 1 < count; ++i) ranks[i] = byte_rank(piece[i], piece[i + 1]);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNone) break;
    ids[best] = results_[ranks[best]];
    std::copy(&ids[best + 2], ids.data() + count, &ids[best + 1]);
    std::copy(&ranks[best + 1], ranks.data() + count - 1, &ranks[best]);
    --count;
    if (best + 1 < count) ranks[best] = rank(ids[best], ids[best + 1]);
    if (best > 0) ranks[best - 1] = rank(ids[best - 1], ids[best]);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
}

void BytePairEncoder::encode_long(std::string_view piece, std::vector<std::int32_t>& out) const {
  struct Node {
    std::int32_t id;
    std::uint32_t rank;  // of the pair with the next node
    std::uint32_t previous;
    std::uint32_t next;
  };
  const auto count = static_cast<std::uint32_t>(piece.size());
  std::vector<Node> nodes(count);
  std::vector<std::uint64_t> heap;  // rank << 32 | node: lowest rank first, leftmost of equals
  heap.reserve(count);
  const auto entry = [](std::uint32_t rank, std::uint32_t node) { return std::uint64_t{rank} << 32 | node; };
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t rank = i + 1 < count ? byte_rank(piece[i], piece[i + 1]) : kNone;
    nodes[i] = {byte_ids_[static_cast<unsigned char>(piece[i])], rank, i - 1, i + 1};
    if (rank != kNone) heap.push_back(entry(rank, i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto renew = [&](std::uint32_t at) {
    Node& node = nodes[at];
    node.rank = node.next < count ? rank(node.id, nodes[node.next].id) : kNone;
    if (node.rank == kNone) return;
    heap.push_back(entry(node.rank, at));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto rank = static_cast<std::uint32_t>(heap.back() >> 32);
    const auto at = static_cast<std::uint32_t>(heap.back());
    heap.pop_back();
    Node& node = nodes[at];
    if (node.rank != rank) continue;  // the pair is gone since this entry was made
    Node& absorbed = nodes[node.next];
    node.id = results_[rank];
    node.next = absorbed.next;
    absorbed.rank = kNone;
    if (node.next < count) nodes[node.next].previous = at;
    renew(at);
    if (at > 0) renew(node.previous);
  }
  for (std::uint32_t at = 0; at < count; at = nodes[at].next) out.push_back(nodes[at].id);
}

}  // namespace hadal::text

#include "text/bpe_trainer.h"

#include <algorithm>
#include <optional>
#include <queue>
#include <unordered_set>

#include "text/byte_characters.h"

namespace hadal::text {

void PieceCounts::add(std::string_view text, std::int64_t weight) {
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at < end;) {
    const char* const next = scanner_.piece_end(at, end);
    const std::string_view piece(at, static_cast<std::size_t>(next - at));
    auto found = counts_.find(piece);
    if (found == counts_.end()) found = counts_.emplace(std::string(piece), 0).first;
    found->second += weight;
    pieces_ += weight;
    at = next;
  }
}

class BpeTrainer {
 public:
  BpeTrainer(const PieceCounts& counts, const BpeTrainingOptions& options) : options_(options) {
    std::array<std::int32_t, 256> symbol_of{};
    const ByteCharacters table;
    for (const unsigned char byte : table.order()) {
      symbol_of[byte] = static_cast<std::int32_t>(bpe_.symbols.size());
      bpe_.symbols.emplace_back(1, static_cast<char>(byte));
    }
    known_.insert(bpe_.symbols.begin(), bpe_.symbols.end());
    words_.reserve(counts.counts_.size());
    for (const auto& [piece, count] : counts.counts_) {
      Word word{.count = count};
      for (const char byte : piece) word.symbols.push_back(symbol_of[static_cast<unsigned char>(byte)]);
      words_.push_back(std::move(word));
      change_pairs(static_cast<std::uint32_t>(words_.size() - 1), +1, std::nullopt);
    }
    for (const auto& [key, pair] : pairs_) push(key, pair.count);
  }

  Result<TrainedBpe> run() {
    constexpr std::int64_t kStep = 64;
    for (std::int64_t merge = 0; merge < options_.merges; ++merge) {
      if (merge % kStep == 0 && options_.progress && !options_.progress(merge, options_.merges)) {
        return fail(ErrorCode::kCancelled, "the training of the tokenizer was interrupted");
      }
      const std::optional<Key> best = pop_best();
      if (!best) break;
      apply(*best);
    }
    return std::move(bpe_);
  }

 private:
  using Key = std::uint64_t;  // left symbol << 32 | right symbol
  struct Word {
    std::vector<std::int32_t> symbols{};
    std::int64_t count = 0;
    std::int64_t merged = -1;  // the last symbol that was made in it
  };
  struct Pair {
    std::int64_t count = 0;
    std::vector<std::uint32_t> words{};  // where it occurs, or did once
  };
  struct Candidate {
    std::int64_t count;
    Key key;
  };

  static std::size_t left_of(Key key) { return static_cast<std::size_t>(key >> 32); }
  static std::size_t right_of(Key key) { return static_cast<std::size_t>(key & 0xFFFFFFFF); }
  [[nodiscard]] std::string spelled(Key key) const { return bpe_.symbols[left_of(key)] + bpe_.symbols[right_of(key)]; }

  // Whether `a` comes after `b`.
  [[nodiscard]] bool worse(const Candidate& a, const Candidate& b) const {
    if (a.count != b.count) return a.count < b.count;
    if (a.key == b.key) return false;
    const std::string bytes_a = spelled(a.key);
    const std::string bytes_b = spelled(b.key);
    // std::string compares as unsigned bytes.
    if (bytes_a != bytes_b) return bytes_a > bytes_b;
    return bpe_.symbols[left_of(a.key)].size() > bpe_.symbols[left_of(b.key)].size();
  }

  void push(Key key, std::int64_t count) {
    if (count < options_.min_count) return;
    if (bpe_.symbols[left_of(key)].size() + bpe_.symbols[right_of(key)].size() > options_.max_token_bytes) return;
    heap_.push_back({count, key});
    std::push_heap(heap_.begin(), heap_.end(), [this](const auto& a, const auto& b) { return worse(a, b); });
  }

  std::optional<Key> pop_best() {
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), [this](const auto& a, const auto& b) { return worse(a, b); });
      const Candidate candidate = heap_.back();
      heap_.pop_back();
      const std::int64_t count = pairs_[candidate.key].count;
      if (count != candidate.count) {
        push(candidate.key, count);  // other merges have used some of its places
      } else if (!known_.contains(spelled(candidate.key))) {
        return candidate.key;
      }
    }
    return std::nullopt;
  }

  // Adds or takes away the pairs of a word. Pairs with the symbol `made` are new, and the word is noted for them.
  void change_pairs(std::uint32_t number, int sign, std::optional<std::int32_t> made) {
    const Word& word = words_[number];
    for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i) {
      const std::int32_t left = word.symbols[i];
      const std::int32_t right = word.symbols[i + 1];
      const Key key = static_cast<Key>(left) << 32 | static_cast<Key>(right);
      Pair& pair = pairs_[key];
      pair.count += sign * word.count;
      const bool is_new = !made || left == *made || right == *made;
      if (sign < 0 || !is_new) continue;
      if (pair.words.empty() || pair.words.back() != number) pair.words.push_back(number);
      if (made) touched_.push_back(key);
    }
  }

  void apply(Key key) {
    const auto made = static_cast<std::int32_t>(bpe_.symbols.size());
    const auto left = static_cast<std::int32_t>(left_of(key));
    const auto right = static_cast<std::int32_t>(right_of(key));
    bpe_.symbols.push_back(spelled(key));
    bpe_.merges.emplace_back(left, right);
    known_.insert(bpe_.symbols.back());
    const std::vector<std::uint32_t> places = std::move(pairs_[key].words);
    for (const std::uint32_t number : places) {
      Word& word = words_[number];
      if (word.merged == made) continue;
      word.merged = made;
      change_pairs(number, -1, made);
      std::size_t out = 0;
      for (std::size_t i = 0; i < word.symbols.size(); ++out) {
        const bool here = word.symbols[i] == left && i + 1 < word.symbols.size() && word.symbols[i + 1] == right;
        word.symbols[out] = here ? made : word.symbols[i];
        i += here ? 2 : 1;
      }
      word.symbols.resize(out);
      change_pairs(number, +1, made);
    }
    pairs_.erase(key);
    std::sort(touched_.begin(), touched_.end());
    touched_.erase(std::unique(touched_.begin(), touched_.end()), touched_.end());
    for (const Key pair : touched_) push(pair, pairs_[pair].count);
    touched_.clear();
  }

  const BpeTrainingOptions& options_;
  TrainedBpe bpe_;
  std::unordered_set<std::string> known_;  // the symbols' bytes
  std::vector<Word> words_;
  std::unordered_map<Key, Pair> pairs_;
  std::vector<Candidate> heap_;  // may hold a pair with a count that it no longer has
  std::vector<Key> touched_;     // pairs that a merge has made
};

Result<TrainedBpe> train_bpe(const PieceCounts& counts, const BpeTrainingOptions& options) {
  return BpeTrainer(counts, options).run();
}

}  // namespace hadal::text

#include "train/data/data_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "train/data/feistel.h"

namespace hadal::train {
namespace {

// What the random numbers are for, as part of their keys.
enum class Purpose : std::uint8_t { kOrder = 1, kOpening = 2 };

std::int64_t ceil_div(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

Status refuse(std::string message) { return fail(ErrorCode::kInvalidArgument, std::move(message)); }

// Shares of the tokens that the weights mean; they add up to 1.
Result<std::vector<double>> shares_of(std::span<const SourceWeight> weights, const std::vector<TokenSet>& sets) {
  double fixed = 0;
  double passes = 0;  // tokens, weighted by epochs
  const auto tokens = [&](std::size_t source) { return static_cast<double>(sets[source].tokens()); };
  for (std::size_t source = 0; source < weights.size(); ++source) {
    const auto& [kind, value] = weights[source];
    if (!(value >= 0) || !std::isfinite(value)) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: the weight {} is not a number from 0 up", sets[source].folder().string(), value));
    }
    (kind == SourceWeight::Kind::kShare ? fixed : passes) +=
        kind == SourceWeight::Kind::kShare ? value : value * tokens(source);
  }
  if (fixed > 1 + 1e-9) return fail(ErrorCode::kInvalidArgument, "the shares of the data add up to more than 1");
  if (fixed + passes <= 0) return fail(ErrorCode::kInvalidArgument, "all weights of the data are 0");
  std::vector<double> shares;
  for (std::size_t source = 0; source < weights.size(); ++source) {
    const auto& [kind, value] = weights[source];
    if (kind == SourceWeight::Kind::kShare) {
      shares.push_back(passes > 0 ? value : value / fixed);
    } else {
      shares.push_back(value == 0 ? 0 : std::max(1 - fixed, 0.0) * value * tokens(source) / passes);
    }
  }
  return shares;
}

}  // namespace

Result<DataLoader> DataLoader::open(const DataConfig& config) {
  if (config.sources.empty()) return fail(ErrorCode::kInvalidArgument, "the data has no source");
  if (config.longest_piece < 2) return fail(ErrorCode::kInvalidArgument, "longest_piece is below 2 tokens");
  DataLoader loader;
  loader.config_ = config;
  loader.state_.seed = config.seed;
  loader.state_.longest_piece = config.longest_piece;
  std::vector<SourceWeight> weights;
  for (const DataSource& source : config.sources) {
    HADAL_ASSIGN(TokenSet set, TokenSet::open(source.folder));
    if (set.documents() == 0) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("{}: holds no document", source.folder.string()));
    }
    const TokenSetMeta& first = loader.sets_.empty() ? set.meta() : loader.sets_.front().meta();
    if (set.meta().tokenizer_sha256 != first.tokenizer_sha256 || set.meta().vocab_size != first.vocab_size) {
      return fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}: was prepared with another tokenizer than {}; prepare both with the same one",
                              source.folder.string(), loader.sets_.front().folder().string()));
    }
    std::vector<std::int64_t> begins{0};
    for (std::int64_t document = 0; document < set.documents(); ++document) {
      // A chat is one piece: torn, it would lose the question that an answer belongs to.
      const std::int64_t count = set.meta().has_mask ? 1 : ceil_div(set.length(document), config.longest_piece);
      begins.push_back(begins.back() + count);
    }
    loader.piece_begins_.push_back(std::move(begins));
    loader.state_.sources.push_back({.documents = set.documents(), .tokens = set.tokens(), .buffer = {}});
    loader.sets_.push_back(std::move(set));
    weights.push_back(source.weight);
  }
  HADAL_TRY(loader.set_weights(weights));
  HADAL_TRY(loader.set_seq_len(config.seq_len));
  return loader;
}

Status DataLoader::set_seq_len(std::int64_t seq_len) {
  if (seq_len < 2 || seq_len > config_.longest_piece) {
    return refuse(
        fmt::format("rows of {} tokens are not possible: 2 to {} (longest_piece) are", seq_len, config_.longest_piece));
  }
  state_.seq_len = seq_len;
  return {};
}

Status DataLoader::set_weights(std::span<const SourceWeight> weights) {
  if (weights.size() != sets_.size()) {
    return refuse(fmt::format("the data has {} sources, {} weights were given", sets_.size(), weights.size()));
  }
  HADAL_ASSIGN(const std::vector<double> shares, shares_of(weights, sets_));
  for (std::size_t source = 0; source < shares.size(); ++source) {
    state_.sources[source].share = shares[source];
    state_.sources[source].balance = 0;
  }
  state_.balance = 0;
  return {};
}

Status DataLoader::restore(DataState state) {
  bool fits = state.seed == config_.seed && state.longest_piece == config_.longest_piece &&
              state.sources.size() == sets_.size() && state.seq_len >= 2 && state.seq_len <= state.longest_piece;
  for (std::size_t source = 0; fits && source < sets_.size(); ++source) {
    const SourceState& saved = state.sources[source];
    const TokenSet& set = sets_[source];
    fits = saved.documents == set.documents() && saved.tokens == set.tokens() && saved.position >= 0 &&
           saved.position <= pieces(source) && saved.share >= 0 && saved.share <= 1 && saved.buffer.size() <= kBuffer;
    for (std::size_t i = 0; fits && i < saved.buffer.size(); ++i) {
      const Piece& piece = saved.buffer[i];
      fits = piece.document >= 0 && piece.document < set.documents() && piece.offset >= 0 && piece.length > 0 &&
             piece.length <= set.length(piece.document) - piece.offset;
    }
  }
  if (!fits) {
    return refuse(
        "the saved place in the data belongs to other data, another seed or another longest_piece; name those that the "
        "run began with, or start anew");
  }
  state_ = std::move(state);
  return {};
}

Piece DataLoader::piece(std::size_t source, std::int64_t number) const {
  const auto& begins = piece_begins_[source];
  const auto next = std::upper_bound(begins.begin(), begins.end(), number);
  const std::int64_t document = next - begins.begin() - 1;
  const std::int64_t length = sets_[source].length(document);
  if (sets_[source].meta().has_mask) return {.document = document, .offset = 0, .length = length};
  const std::int64_t offset = (number - begins[static_cast<std::size_t>(document)]) * config_.longest_piece;
  return {.document = document, .offset = offset, .length = std::min(config_.longest_piece, length - offset)};
}

void DataLoader::refill(std::size_t source) {
  SourceState& state = state_.sources[source];
  const auto wanted = static_cast<std::size_t>(std::min<std::int64_t>(kBuffer, pieces(source)));
  while (state.buffer.size() < wanted) {
    if (state.position == pieces(source)) {
      ++state.epoch;
      state.position = 0;
    }
    const Permutation order(mixed_key(config_.seed, Purpose::kOrder, source, state.epoch), pieces(source));
    state.buffer.push_back(piece(source, order(state.position++)));
    ++state.drawn;
  }
}

// Tokens that a source lacks for its share of all rows since the weights were set.
double DataLoader::lag(std::size_t source) const {
  const SourceState& state = state_.sources[source];
  return state.share * static_cast<double>(state_.balance) - static_cast<double>(state.balance);
}

Result<std::int64_t> DataLoader::whole_turns(std::size_t source, const Piece& chat) const {
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(state_.seq_len));
  std::vector<std::uint8_t> mask(tokens.size());
  HADAL_TRY(sets_[source].read(chat.document, chat.offset, tokens));
  sets_[source].read_mask(chat.document, chat.offset, mask);
  for (std::size_t end = tokens.size(); end > 0; --end) {
    if (tokens[end - 1] == sets_[source].meta().eos_id && mask[end - 1] == 1) return static_cast<std::int64_t>(end);
  }
  return 0;
}

Result<Piece> DataLoader::take_opening(std::size_t source) {
  SourceState& state = state_.sources[source];
  // A set of which no chat fits would be searched for ever.
  for (std::int64_t tries = 0; tries <= pieces(source) + static_cast<std::int64_t>(kBuffer); ++tries) {
    refill(source);
    const std::uint64_t random = mixed_key(config_.seed, Purpose::kOpening, source, state.choices++);
    const auto slot = state.buffer.begin() + static_cast<std::ptrdiff_t>(random % state.buffer.size());
    Piece& waiting = *slot;
    Piece taken = waiting;
    if (waiting.length <= state_.seq_len) {
      state.buffer.erase(slot);
      return taken;
    }
    if (!sets_[source].meta().has_mask) {
      taken.length = state_.seq_len;
      waiting.offset += taken.length;
      waiting.length -= taken.length;
      return taken;
    }
    HADAL_ASSIGN(taken.length, whole_turns(source, taken));
    state.buffer.erase(slot);
    ++(taken.length > 0 ? state.cut : state.dropped);
    if (taken.length > 0) return taken;
  }
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("{}: no conversation has an answer inside its first {} tokens; make the rows longer",
                          sets_[source].folder().string(), state_.seq_len));
}

std::optional<DataLoader::Waiting> DataLoader::best_fit(std::int64_t room) {
  std::optional<Waiting> best;
  std::int64_t best_length = 0;
  for (std::size_t source = 0; source < sets_.size(); ++source) {
    // A source far ahead of its share does not fill gaps, or short documents would crowd out the others.
    if (state_.sources[source].share == 0 || lag(source) < -2 * static_cast<double>(state_.seq_len)) continue;
    refill(source);
    const auto& buffer = state_.sources[source].buffer;
    for (std::size_t slot = 0; slot < buffer.size(); ++slot) {
      if (buffer[slot].length > room || buffer[slot].length <= best_length) continue;
      best = Waiting{source, slot};
      best_length = buffer[slot].length;
    }
  }
  return best;
}

Status DataLoader::append(std::size_t source, const Piece& taken, Row& row) {
  const TokenSet& set = sets_[source];
  const auto begin = static_cast<std::size_t>(row.used);
  const auto length = static_cast<std::size_t>(taken.length);
  HADAL_TRY(set.read(taken.document, taken.offset, std::span(row.tokens).subspan(begin, length)));
  // Position t predicts token t + 1, whose mask counts; the part's last position predicts nothing inside it.
  const auto mask = std::span(row.loss_mask).subspan(begin, length);
  if (config_.sources[source].learn_all) {
    std::fill(mask.begin(), mask.end(), std::uint8_t{1});
  } else {
    set.read_mask(taken.document, taken.offset, mask);
    std::copy(mask.begin() + 1, mask.end(), mask.begin());
  }
  mask.back() = 0;
  const std::int64_t learned = std::accumulate(mask.begin(), mask.end(), std::int64_t{0});
  row.parts.push_back({.start = static_cast<std::int32_t>(row.used),
                       .length = static_cast<std::int32_t>(taken.length),
                       .source = static_cast<std::int32_t>(source),
                       .document = taken.document,
                       .offset = taken.offset});
  row.used += taken.length;
  row.loss_tokens += learned;
  SourceState& state = state_.sources[source];
  state.balance += taken.length;
  state.used += taken.length;
  state.learned += learned;
  state_.balance += taken.length;
  return {};
}

Result<Row> DataLoader::next() {
  const auto length = static_cast<std::size_t>(state_.seq_len);
  Row row{.tokens = std::vector<std::int32_t>(length, sets_.front().meta().pad_id),
          .parts = {},
          .loss_mask = std::vector<std::uint8_t>(length)};
  std::size_t opening = 0;
  bool found = false;
  for (std::size_t source = 0; source < sets_.size(); ++source) {
    if (state_.sources[source].share == 0 || (found && lag(source) <= lag(opening))) continue;
    opening = source;
    found = true;
  }
  HADAL_ASSIGN(const Piece first, take_opening(opening));
  HADAL_TRY(append(opening, first, row));
  while (row.used < state_.seq_len) {
    const std::optional<Waiting> next = best_fit(state_.seq_len - row.used);
    if (!next) break;
    auto& buffer = state_.sources[next->source].buffer;
    const Piece taken = buffer[next->slot];
    buffer.erase(buffer.begin() + static_cast<std::ptrdiff_t>(next->slot));
    HADAL_TRY(append(next->source, taken, row));
  }
  if (row.used < state_.seq_len) {
    row.parts.push_back(
        {.start = static_cast<std::int32_t>(row.used), .length = static_cast<std::int32_t>(state_.seq_len - row.used)});
    state_.padding += state_.seq_len - row.used;
  }
  ++state_.rows;
  return row;
}

}  // namespace hadal::train

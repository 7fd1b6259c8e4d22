// The rows of training: everything once an epoch, nothing across borders, the same again after a restart.
#include "train/data/data_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

#include "prepared.h"
#include "testing/temp_directory.h"
#include "train/data/feistel.h"

namespace hadal::train {
namespace {

using testing::HasSubstr;
using testing_support::TempDirectory;

TEST(Permutation, VisitsEachPlaceOnce) {
  for (const std::int64_t count : {1, 2, 3, 4, 5, 16, 17, 255, 256, 257, 1000}) {
    for (const std::uint64_t key : {std::uint64_t{1}, std::uint64_t{2}}) {
      const Permutation permutation(key, count);
      std::set<std::int64_t> seen;
      for (std::int64_t place = 0; place < count; ++place) {
        const std::int64_t value = permutation(place);
        ASSERT_GE(value, 0);
        ASSERT_LT(value, count);
        seen.insert(value);
      }
      EXPECT_EQ(static_cast<std::int64_t>(seen.size()), count) << key;
    }
  }
}

TEST(Permutation, DependsOnTheKeyAndLooksRandom) {
  constexpr std::int64_t kCount = 4000;
  const Permutation first(1, kCount);
  const Permutation second(2, kCount);
  int same = 0;
  int ascents = 0;
  for (std::int64_t place = 0; place < kCount; ++place) {
    same += first(place) == second(place) ? 1 : 0;
    if (place > 0) ascents += first(place) > first(place - 1) ? 1 : 0;
  }
  EXPECT_LT(same, 10);                           // one is expected
  EXPECT_NEAR(ascents, kCount / 2.0, 5 * 18.3);  // five standard deviations, sqrt(n / 12)
}

void expect_equal(const Row& a, const Row& b) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.loss_mask, b.loss_mask);
  EXPECT_EQ(a.used, b.used);
  EXPECT_EQ(a.loss_tokens, b.loss_tokens);
  ASSERT_EQ(a.parts.size(), b.parts.size());
  for (std::size_t i = 0; i < a.parts.size(); ++i) {
    EXPECT_EQ(a.parts[i].start, b.parts[i].start);
    EXPECT_EQ(a.parts[i].length, b.parts[i].length);
    EXPECT_EQ(a.parts[i].source, b.parts[i].source);
    EXPECT_EQ(a.parts[i].document, b.parts[i].document);
    EXPECT_EQ(a.parts[i].offset, b.parts[i].offset);
  }
}

// What holds for every row.
void check(const Row& row, const DataLoader& loader) {
  const std::int64_t seq_len = loader.seq_len();
  ASSERT_EQ(static_cast<std::int64_t>(row.tokens.size()), seq_len);
  ASSERT_EQ(static_cast<std::int64_t>(row.loss_mask.size()), seq_len);
  std::int32_t next = 0;
  for (const Part& part : row.parts) {
    ASSERT_EQ(part.start, next);
    ASSERT_GT(part.length, 0);
    next += part.length;
    const auto begin = static_cast<std::size_t>(part.start);
    const auto length = static_cast<std::size_t>(part.length);
    EXPECT_EQ(row.loss_mask[begin + length - 1], 0) << "the last position of a part predicts nothing in it";
    if (part.source < 0) {
      EXPECT_EQ(part.start, row.used);
      for (std::size_t t = begin; t < begin + length; ++t) {
        EXPECT_EQ(row.tokens[t], 2);
        EXPECT_EQ(row.loss_mask[t], 0);
      }
      continue;
    }
    std::vector<std::int32_t> tokens(length);
    ASSERT_TRUE(loader.sets()[static_cast<std::size_t>(part.source)].read(part.document, part.offset, tokens));
    EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), row.tokens.begin() + part.start));
  }
  EXPECT_EQ(next, seq_len);
  EXPECT_EQ(row.loss_tokens, std::accumulate(row.loss_mask.begin(), row.loss_mask.end(), std::int64_t{0}));
}

DataLoader opened(const DataConfig& config) {
  auto loader = DataLoader::open(config);
  EXPECT_TRUE(loader) << loader.error().message;
  return *std::move(loader);
}

Row next_row(DataLoader& loader) {
  auto row = loader.next();
  EXPECT_TRUE(row) << row.error().message;
  check(*row, loader);
  return *std::move(row);
}

class Mixture : public testing::Test {
 protected:
  void SetUp() override {
    std::vector<std::int64_t> lengths;
    lengths.reserve(40);
    for (std::int64_t i = 0; i < 40; ++i) lengths.push_back(200 + i * 37 % 900);
    write_texts(folder_ / "books", lengths);
    lengths.clear();
    for (std::int64_t i = 0; i < 300; ++i) lengths.push_back(5 + i * 7 % 30);
    write_texts(folder_ / "glosses", lengths);
  }
  DataConfig config() const {
    return {.sources = {{.folder = folder_ / "books"}, {.folder = folder_ / "glosses"}},
            .seq_len = 64,
            .longest_piece = 256,
            .seed = 5};
  }
  TempDirectory folder_;
};

TEST_F(Mixture, GivesEveryTokenOnceAnEpoch) {
  DataConfig one = config();
  one.sources.resize(1);
  DataLoader loader = opened(one);
  std::map<std::pair<std::int64_t, std::int64_t>, int> seen;
  const auto count = [&seen](std::int64_t document, std::int64_t offset, std::int64_t length) {
    for (std::int64_t t = 0; t < length; ++t) ++seen[{document, offset + t}];
  };
  while (loader.state().sources[0].epoch < 6) {
    for (const Part& part : next_row(loader).parts) {
      if (part.source >= 0) count(part.document, part.offset, part.length);
    }
  }
  // Six epochs have been drawn and the seventh has begun; what was drawn is in a row or waits.
  for (const Piece& piece : loader.state().sources[0].buffer) count(piece.document, piece.offset, piece.length);
  EXPECT_EQ(static_cast<std::int64_t>(seen.size()), loader.sets()[0].tokens());
  int seventh = 0;
  for (const auto& [place, times] : seen) {
    EXPECT_TRUE(times == 6 || times == 7) << place.first << ":" << place.second << ": " << times;
    seventh += times - 6;
  }
  EXPECT_LT(seventh, loader.sets()[0].tokens() / 4);
}

TEST_F(Mixture, FillsRowsAlmostToTheEnd) {
  DataLoader loader = opened(config());
  for (int i = 0; i < 500; ++i) next_row(loader);
  EXPECT_LT(static_cast<double>(loader.state().padding), 0.02 * 500 * 64);
}

TEST_F(Mixture, KeepsTheShares) {
  DataConfig shares = config();
  shares.sources[0].weight = {SourceWeight::Kind::kEpochs, 2};
  shares.sources[1].weight = {SourceWeight::Kind::kShare, 0.25};
  DataLoader loader = opened(shares);
  for (int i = 0; i < 800; ++i) next_row(loader);
  const DataState& state = loader.state();
  const double all = static_cast<double>(state.sources[0].used + state.sources[1].used);
  EXPECT_NEAR(static_cast<double>(state.sources[1].used) / all, 0.25, 0.01);

  // From here on nothing but glosses; at once, not when what was drawn has run out.
  const std::int64_t books = state.sources[0].used;
  const std::vector<SourceWeight> only = {{SourceWeight::Kind::kEpochs, 0}, {SourceWeight::Kind::kEpochs, 1}};
  ASSERT_TRUE(loader.set_weights(only));
  for (int i = 0; i < 20; ++i) next_row(loader);
  EXPECT_EQ(loader.state().sources[0].used, books);
}

TEST_F(Mixture, EpochsAreInProportionToTheTokens) {
  DataConfig epochs = config();
  epochs.sources[1].weight.value = 3;
  DataLoader loader = opened(epochs);
  for (int i = 0; i < 2000; ++i) next_row(loader);
  const auto passes = [&](std::size_t source) {
    return static_cast<double>(loader.state().sources[source].used) /
           static_cast<double>(loader.sets()[source].tokens());
  };
  EXPECT_NEAR(passes(1) / passes(0), 3, 0.1);
}

TEST_F(Mixture, ContinuesAfterARestartAtAnyRow) {
  DataLoader whole = opened(config());
  std::vector<Row> rows;
  std::vector<std::string> states;
  const auto stage = [](DataLoader& loader, int row) {
    if (row == 30) {
      ASSERT_TRUE(loader.set_seq_len(128));
    }
    if (row == 40) {
      const std::vector<SourceWeight> weights = {{SourceWeight::Kind::kEpochs, 1}, {SourceWeight::Kind::kShare, 0.5}};
      ASSERT_TRUE(loader.set_weights(weights));
    }
  };
  for (int row = 0; row < 60; ++row) {
    states.push_back(to_json(whole.state()));
    stage(whole, row);
    rows.push_back(next_row(whole));
  }
  for (int start = 0; start < 60; start += 7) {
    DataLoader loader = opened(config());
    const auto state = parse_data_state(states[static_cast<std::size_t>(start)]);
    ASSERT_TRUE(state) << state.error().message;
    ASSERT_TRUE(loader.restore(*state));
    EXPECT_EQ(loader.state(), *state);
    for (int row = start; row < 60; ++row) {
      stage(loader, row);
      expect_equal(next_row(loader), rows[static_cast<std::size_t>(row)]);
    }
    EXPECT_EQ(loader.state(), whole.state());
  }
}

TEST_F(Mixture, OfAnotherSeedHasAnotherOrder) {
  DataConfig other = config();
  other.seed = 6;
  DataLoader a = opened(config());
  DataLoader b = opened(other);
  int equal = 0;
  for (int row = 0; row < 20; ++row) equal += next_row(a).tokens == next_row(b).tokens ? 1 : 0;
  EXPECT_LT(equal, 3);
}

TEST_F(Mixture, RefusesAStateOfOtherData) {
  DataLoader loader = opened(config());
  next_row(loader);
  DataState state = loader.state();
  const auto expect_refused = [&](const DataState& wrong) {
    DataLoader fresh = opened(config());
    const Status restored = fresh.restore(wrong);
    ASSERT_FALSE(restored);
    EXPECT_EQ(restored.error().code, ErrorCode::kInvalidArgument);
  };
  DataState wrong = state;
  wrong.seed = 4;
  expect_refused(wrong);
  wrong = state;
  ++wrong.sources[1].tokens;
  expect_refused(wrong);
  wrong = state;
  wrong.sources[0].buffer[0].document = 40;
  expect_refused(wrong);
  wrong = state;
  wrong.sources[0].buffer[0].length = 1 << 30;
  expect_refused(wrong);
  wrong = state;
  wrong.sources.pop_back();
  expect_refused(wrong);
  EXPECT_FALSE(parse_data_state("{}"));
  EXPECT_FALSE(parse_data_state("nonsense"));
}

TEST_F(Mixture, RefusesConfigurationsThatMeanNothing) {
  const auto message = [](const DataConfig& wrong) {
    const auto loader = DataLoader::open(wrong);
    return loader ? std::string("accepted") : loader.error().message;
  };
  DataConfig wrong = config();
  wrong.seq_len = 512;
  EXPECT_THAT(message(wrong), HasSubstr("rows of 512 tokens"));
  wrong = config();
  wrong.sources[0].weight.value = -1;
  EXPECT_THAT(message(wrong), HasSubstr("not a number from 0 up"));
  wrong = config();
  wrong.sources[0].weight.value = wrong.sources[1].weight.value = 0;
  EXPECT_THAT(message(wrong), HasSubstr("all weights"));
  wrong = config();
  wrong.sources[0].weight = {SourceWeight::Kind::kShare, 0.7};
  wrong.sources[1].weight = {SourceWeight::Kind::kShare, 0.4};
  EXPECT_THAT(message(wrong), HasSubstr("more than 1"));
  wrong = config();
  wrong.sources.clear();
  EXPECT_THAT(message(wrong), HasSubstr("no source"));
  EXPECT_EQ(DataLoader::open({.sources = {{.folder = folder_ / "none"}}, .seq_len = 8}).error().code,
            ErrorCode::kNotFound);
}

TEST_F(Mixture, RefusesSetsOfDifferentTokenizers) {
  TokenSetMeta meta = small_meta();
  meta.tokenizer_sha256 = std::string(64, 'b');
  auto writer = TokenSetWriter::create(folder_ / "other", meta);
  ASSERT_TRUE(writer);
  ASSERT_TRUE(writer->add(numbered_document(0, 9), "x"));
  ASSERT_TRUE(writer->finish());
  DataConfig mixed = config();
  mixed.sources.push_back({.folder = folder_ / "other"});
  const auto loader = DataLoader::open(mixed);
  ASSERT_FALSE(loader);
  EXPECT_THAT(loader.error().message, HasSubstr("another tokenizer"));
}

// A chat of `turns` answers: bos, then for each a question of 5 tokens and an answer of 4 with its eos, in the mask.
TokenDocument chat(std::int32_t number, int turns) {
  TokenDocument made;
  made.tokens.push_back(0);
  made.mask.push_back(0);
  for (int turn = 0; turn < turns; ++turn) {
    for (int i = 0; i < 9; ++i) {
      made.tokens.push_back(i == 8 ? 1 : 10 + number);
      made.mask.push_back(i >= 5 ? 1 : 0);
    }
  }
  return made;
}

TEST(Chats, AreCutAtTheEndOfAnAnswerOrDropped) {
  TempDirectory folder;
  // 19 tokens; 46, of which 28 fit; and one whose first answer ends at 40.
  TokenDocument late = chat(3, 1);
  late.tokens.insert(late.tokens.begin() + 1, 30, 50);
  late.mask.insert(late.mask.begin() + 1, 30, 0);
  write_set(folder / "chats", {chat(1, 2), chat(2, 5), late}, true);
  DataLoader loader =
      opened({.sources = {{.folder = folder / "chats"}}, .seq_len = 32, .longest_piece = 32, .seed = 1});
  std::set<std::pair<std::int64_t, std::int32_t>> seen;
  for (int row = 0; row < 60; ++row) {
    for (const Part& part : next_row(loader).parts) {
      if (part.source >= 0) seen.insert({part.document, part.length});
      EXPECT_EQ(part.offset, 0);
    }
  }
  EXPECT_EQ(seen, (std::set<std::pair<std::int64_t, std::int32_t>>{{0, 19}, {1, 28}}));
  EXPECT_GT(loader.state().sources[0].cut, 0);
  EXPECT_GT(loader.state().sources[0].dropped, 0);
}

TEST(Chats, CountOnlyWhereAnAnswerIsPredicted) {
  TempDirectory folder;
  write_set(folder / "chats", {chat(1, 1)}, true);
  DataConfig config{.sources = {{.folder = folder / "chats"}}, .seq_len = 16, .longest_piece = 16, .seed = 1};
  DataLoader loader = opened(config);
  // bos, five tokens of the question, three of the answer, eos: positions 5..8 predict the answer.
  const std::vector<std::uint8_t> expected = {0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(next_row(loader).loss_mask, expected);
  config.sources[0].learn_all = true;
  DataLoader all = opened(config);
  const std::vector<std::uint8_t> everything = {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(next_row(all).loss_mask, everything);
}

TEST(Chats, OfWhichNoneFitsAreAnError) {
  TempDirectory folder;
  write_set(folder / "chats", {chat(1, 1), chat(2, 1)}, true);
  DataLoader loader = opened({.sources = {{.folder = folder / "chats"}}, .seq_len = 8, .longest_piece = 8, .seed = 1});
  const auto row = loader.next();
  ASSERT_FALSE(row);
  EXPECT_EQ(row.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(row.error().message, HasSubstr("no conversation has an answer inside its first 8 tokens"));
}

TEST(Texts, PredictEverythingInsideAPart) {
  TempDirectory folder;
  write_texts(folder / "texts", {10});
  DataLoader loader = opened({.sources = {{.folder = folder / "texts"}}, .seq_len = 8, .longest_piece = 8, .seed = 1});
  std::set<std::int32_t> lengths;
  for (int row = 0; row < 12; ++row) {
    const Row made = next_row(loader);
    std::int64_t expected = 0;
    for (const Part& part : made.parts) {
      if (part.source < 0) continue;
      expected += part.length - 1;
      lengths.insert(part.length);
    }
    EXPECT_EQ(made.loss_tokens, expected);
  }
  EXPECT_EQ(lengths, (std::set<std::int32_t>{2, 8})) << "ten tokens in pieces of eight";
}

}  // namespace
}  // namespace hadal::train

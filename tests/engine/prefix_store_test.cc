// The directory of kept states: what it serves is right, whatever happened to its files, its disk and its process.

#include "engine/prefix_store.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <optional>
#include <thread>

#include "engine/made_up_states.h"
#include "testing/small_disk.h"
#include "testing/temp_directory.h"

namespace hadal::engine {
namespace {

using ::testing::HasSubstr;
using testing::MadeUpStates;
using Tokens = std::vector<std::int64_t>;

class PrefixStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<PrefixStore> open(std::int64_t bytes = 1 << 20, std::int64_t queue_bytes = 1 << 20) {
    auto store =
        PrefixStore::open({.directory = directory_, .bytes = bytes, .queue_bytes = queue_bytes}, states_.format());
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  /// Queues the state of the first `length` tokens and waits until it is written.
  bool put(PrefixStore& store, std::span<const std::int64_t> tokens, std::int64_t length) const {
    const bool taken = states_.put(store, MadeUpStates::keys(tokens.first(static_cast<std::size_t>(length))));
    store.flush();
    return taken;
  }
  std::filesystem::path file_of(std::span<const std::int64_t> tokens, std::int64_t length) const {
    const Hash128 key = MadeUpStates::keys(tokens).entry(length);
    return directory_ / fmt::format("{:016x}{:016x}.prefix", key.high, key.low);
  }
  std::int64_t files() const {
    std::int64_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      count += entry.path().filename() == "lock" ? 0 : 1;
    }
    return count;
  }

  const testing_support::TempDirectory temp_;
  const std::filesystem::path directory_ = temp_ / "cache";
  const MadeUpStates states_;
  const Tokens tokens_ = MadeUpStates::tokens(1000);
};

TEST_F(PrefixStoreTest, ServesTheDeepestStateBeforeAndAfterARestart) {
  auto store = open();
  ASSERT_TRUE(store);
  for (const std::int64_t length : {256, 640, 700}) EXPECT_TRUE(put(*store, tokens_, length));
  EXPECT_FALSE(put(*store, tokens_, 640)) << "it is there";
  for (const bool restarted : {false, true}) {
    if (restarted) {
      store.reset();
      store = open();
      ASSERT_TRUE(store);
    }
    EXPECT_EQ(store->figures().files, 3);
    for (const auto& [prompt, expected] :
         {std::pair(255, 0), {256, 256}, {639, 256}, {640, 640}, {699, 640}, {700, 700}, {1000, 700}}) {
      for (const std::int64_t have : {0, 1, 3, 5}) {
        EXPECT_EQ(states_.serve(*store, std::span(tokens_).first(static_cast<std::size_t>(prompt)), have), expected);
      }
    }
    // Another way behind 640, another domain.
    const Tokens other = MadeUpStates::tokens(1000, 9, 640);
    EXPECT_EQ(states_.serve(*store, other), 640);
    EXPECT_EQ(store->longest(MadeUpStates::keys(tokens_, {.hash = {1, 0}}), 1000), 0);
    EXPECT_EQ(store->figures().corrupt, 0);
  }
  // Pages are written once: two, then three more, then none.
  EXPECT_EQ(std::filesystem::file_size(file_of(tokens_, 256)), 256U + 448 + 2 * 200);
  EXPECT_EQ(std::filesystem::file_size(file_of(tokens_, 640)), 256U + 448 + 3 * 200);
  EXPECT_EQ(std::filesystem::file_size(file_of(tokens_, 700)), 256U + 448 + 192);
  EXPECT_EQ(store->figures().bytes, 256 * 3 + 448 * 3 + 5 * 200 + 192);
}

TEST_F(PrefixStoreTest, ALongerStateOfAConversationReplacesItsTail) {
  auto store = open();
  ASSERT_TRUE(store);
  for (const std::int64_t length : {100, 128, 300, 310, 600}) {
    EXPECT_TRUE(put(*store, tokens_, length));
    EXPECT_EQ(states_.serve(*store, tokens_), length);
  }
  EXPECT_EQ(files(), 2) << "the anchor at 128 and the tail at 600";
  EXPECT_EQ(store->figures().files, 2);
  EXPECT_EQ(states_.serve(*store, std::span(tokens_).first(599)), 128);
}

TEST_F(PrefixStoreTest, ARequestForADirectoryInUseFails) {
  const auto store = open();
  ASSERT_TRUE(store);
  const auto second = PrefixStore::open({.directory = directory_}, states_.format());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(second.error().message, HasSubstr("another process"));
  testing_support::write_text(temp_ / "file", "");
  const auto nowhere = PrefixStore::open({.directory = temp_ / "file" / "cache"}, states_.format());
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, ErrorCode::kUnavailable);
}

// One byte in every part of a file, with the file damaged while the store is open and while it is closed.
TEST_F(PrefixStoreTest, DropsAndCountsDamagedFilesAndWhatBuildsOnThem) {
  const std::int64_t lengths[] = {256, 640, 700};
  for (const bool closed : {false, true}) {
    for (const std::int64_t damaged : lengths) {
      for (const std::size_t at : {0U, 8U, 20U, 40U, 84U, 130U, 200U, 250U, 257U, 300U, 703U, 720U, 895U, 1100U}) {
        std::filesystem::remove_all(directory_);
        auto store = open();
        ASSERT_TRUE(store);
        for (const std::int64_t length : lengths) ASSERT_TRUE(put(*store, tokens_, length));
        if (closed) store.reset();
        std::string bytes = testing_support::read_text(file_of(tokens_, damaged));
        if (at >= bytes.size()) continue;
        bytes[at] = static_cast<char>(bytes[at] ^ 16);
        testing_support::write_text(file_of(tokens_, damaged), bytes);
        if (closed) store = open();
        // All three are on the way to the longest, but the state in a file is read only for its own length.
        const std::int64_t got = states_.serve(*store, tokens_);
        const std::int64_t before = damaged == 256 ? 0 : damaged == 640 ? 256 : 640;
        const std::size_t table_end = damaged == 256 ? 256 + 16 : damaged == 640 ? 256 + 24 : 256;
        const bool own_state = damaged != 700 && at >= table_end && at < table_end + 448;
        if (own_state) {
          EXPECT_EQ(got, 700);
          EXPECT_EQ(states_.serve(*store, std::span(tokens_).first(static_cast<std::size_t>(damaged))), before);
        } else {
          EXPECT_EQ(got, before) << "damaged " << damaged << " at " << at;
        }
        const std::int64_t dropped = damaged == 256 ? 3 : damaged == 640 ? 2 : 1;
        EXPECT_EQ(store->figures().corrupt, dropped) << "damaged " << damaged << " at " << at;
        EXPECT_EQ(files(), 3 - dropped);
        // The place is free for a right one.
        EXPECT_TRUE(put(*store, tokens_, damaged));
        EXPECT_EQ(states_.serve(*store, std::span(tokens_).first(static_cast<std::size_t>(damaged))), damaged);
      }
    }
  }
}

TEST_F(PrefixStoreTest, DropsForeignTornAndMisplacedFiles) {
  auto store = open();
  ASSERT_TRUE(store);
  for (const std::int64_t length : {256, 640, 700}) ASSERT_TRUE(put(*store, tokens_, length));
  store.reset();
  const auto keep = testing_support::read_text(file_of(tokens_, 256));
  testing_support::write_text(directory_ / "notes.txt", "not ours");
  testing_support::write_text(directory_ / "0123456789abcdef0123456789abcdef.prefix", keep);  // another name
  testing_support::write_text(directory_ / "ffffffffffffffffffffffffffffffff.prefix", "");    // empty
  testing_support::write_text(directory_ / "ffffffffffffffffffffffffffffffff.prefix.77.partial", "half");
  std::filesystem::create_directory(directory_ / "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee.prefix");  // no file
  std::filesystem::resize_file(file_of(tokens_, 700), 800);
  store = open();
  ASSERT_TRUE(store);
  EXPECT_EQ(store->figures().corrupt, 3);
  EXPECT_EQ(states_.serve(*store, tokens_), 640);
  EXPECT_EQ(files(), 4) << "two states, the notes, and what cannot be read";
  EXPECT_TRUE(std::filesystem::exists(directory_ / "notes.txt"));
  // Without the state that it builds on nothing serves.
  store.reset();
  std::filesystem::remove(file_of(tokens_, 256));
  store = open();
  EXPECT_EQ(store->figures().corrupt, 1);
  EXPECT_EQ(states_.serve(*store, tokens_), 0);
  // A file that vanishes while the store is open.
  ASSERT_TRUE(put(*store, tokens_, 256));
  std::filesystem::remove(file_of(tokens_, 256));
  EXPECT_EQ(states_.serve(*store, tokens_), 0);
  EXPECT_EQ(store->figures().corrupt, 2);
}

TEST_F(PrefixStoreTest, StatesOfAnotherModelAreDropped) {
  auto store = open();
  ASSERT_TRUE(store);
  ASSERT_TRUE(put(*store, tokens_, 256));
  store.reset();
  PrefixFormat other = states_.format();
  other.model.high ^= 1;
  const auto opened = PrefixStore::open({.directory = directory_}, other);
  ASSERT_TRUE(opened);
  EXPECT_EQ((*opened)->figures().corrupt, 1);
  EXPECT_EQ((*opened)->longest(MadeUpStates::keys(tokens_), 1000), 0);
}

TEST_F(PrefixStoreTest, GivesUpTheLeavesUsedLongestAgoAlsoAfterARestart) {
  const std::int64_t one = 256 + 448 + 2 * 200;  // a file of two pages
  auto store = open(4 * one);
  ASSERT_TRUE(store);
  const auto prompt = [](std::uint32_t seed) { return MadeUpStates::tokens(600, seed); };
  for (const std::uint32_t seed : {1U, 2U, 3U}) ASSERT_TRUE(put(*store, prompt(seed), 256));
  ASSERT_TRUE(put(*store, prompt(1), 512));  // builds on the oldest
  EXPECT_EQ(states_.serve(*store, prompt(2)), 256);
  store.reset();
  store = open(4 * one);
  ASSERT_TRUE(store);
  EXPECT_EQ(store->figures().files, 4);
  // 3 was used longest ago; 1 at 256 is older, but 1 at 512 needs it.
  ASSERT_TRUE(put(*store, prompt(4), 256));
  EXPECT_EQ(states_.serve(*store, prompt(3)), 0);
  EXPECT_EQ(states_.serve(*store, prompt(1)), 512);
  EXPECT_EQ(states_.serve(*store, prompt(2)), 256);
  ASSERT_TRUE(put(*store, prompt(5), 256));
  EXPECT_EQ(states_.serve(*store, prompt(4)), 0);
  EXPECT_EQ(store->figures().evictions, 2);
  EXPECT_EQ(store->figures().bytes, 4 * one);
  // A smaller limit at the next start: the ends of chains go first.
  store.reset();
  store = open(2 * one);
  ASSERT_TRUE(store);
  EXPECT_EQ(store->figures().evictions, 2);
  EXPECT_EQ(store->figures().files, 2);
  EXPECT_EQ(files(), 2);
}

TEST_F(PrefixStoreTest, WhatIsTooLargeIsNotTaken) {
  const auto store = open(2000, 100);
  ASSERT_TRUE(store);
  EXPECT_FALSE(put(*store, tokens_, 896)) << "2,104 bytes";
  EXPECT_EQ(store->figures().unwritten, 1);
  EXPECT_TRUE(put(*store, tokens_, 256)) << "longer than the queue, but nothing else waits";
  EXPECT_EQ(states_.serve(*store, tokens_), 256);
}

TEST_F(PrefixStoreTest, AFullDiskStopsTheWritingUntilThereIsRoom) {
  const auto store = open();
  ASSERT_TRUE(store);
  ASSERT_TRUE(put(*store, tokens_, 256));
  {
    const testing_support::SmallDisk full(600);
    EXPECT_TRUE(put(*store, tokens_, 640));
    EXPECT_TRUE(put(*store, MadeUpStates::tokens(1000, 4), 384));
    EXPECT_EQ(store->figures().unwritten, 2);
    EXPECT_EQ(files(), 1) << "no part of them is left";
    EXPECT_EQ(states_.serve(*store, tokens_), 256);
  }
  EXPECT_TRUE(put(*store, tokens_, 640)) << "it is not taken for written";
  EXPECT_EQ(states_.serve(*store, tokens_), 640);
  EXPECT_EQ(store->figures().written, 2);
  EXPECT_EQ(store->figures().waiting_bytes, 0);
}

/// Holds the writer up: it waits inside the record that is put first until the pipe in the place of that file is read.
class HeldWriter {
 public:
  HeldWriter(PrefixStore& store, const MadeUpStates& states, const std::filesystem::path& file)
      : path_(file.string() + fmt::format(".{}.partial", ::getpid())) {
    EXPECT_EQ(::mkfifo(path_.c_str(), 0600), 0);
    EXPECT_TRUE(states.put(store, MadeUpStates::keys(tokens())));
  }
  HeldWriter(const HeldWriter&) = delete;
  HeldWriter& operator=(const HeldWriter&) = delete;
  ~HeldWriter() {
    if (reader_ >= 0) ::close(reader_);
  }
  /// Of the record, which fails in the end, since a pipe cannot be synced.
  static Tokens tokens() { return MadeUpStates::tokens(128, 99); }
  void let_go() { reader_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC); }

 private:
  const std::filesystem::path path_;
  int reader_ = -1;
};

TEST_F(PrefixStoreTest, AnOlderTailStaysUntilTheLongerOneIsWritten) {
  const auto begin = [&](std::int64_t length) {
    return MadeUpStates::keys(std::span(tokens_).first(static_cast<std::size_t>(length)));
  };
  for (const bool waits : {false, true}) {
    for (const bool is_full : {true, false}) {
      SCOPED_TRACE(fmt::format("waits {}, full {}", waits, is_full));
      std::filesystem::remove_all(directory_);
      const auto store = open();
      ASSERT_TRUE(store);
      std::optional<HeldWriter> held;
      if (waits) held.emplace(*store, states_, file_of(HeldWriter::tokens(), 128));
      // Tails of 200 and 300 tokens fit into what is left of the disk, that of 700 does not.
      EXPECT_TRUE(states_.put(*store, begin(200)));
      if (!waits) store->flush();
      std::optional<testing_support::SmallDisk> disk;
      if (is_full) disk.emplace(1500);
      EXPECT_TRUE(states_.put(*store, begin(300)));
      if (!waits) store->flush();
      EXPECT_TRUE(states_.put(*store, begin(700)));
      if (held) held->let_go();
      store->flush();
      EXPECT_EQ(states_.serve(*store, tokens_), is_full ? 300 : 700);
      EXPECT_EQ(files(), 1);
      const PrefixStoreFigures figures = store->figures();
      EXPECT_EQ(figures.written, waits ? 1 : is_full ? 2 : 3) << "what is replaced while it waits is not written";
      EXPECT_EQ(figures.unwritten, (is_full ? 1 : 0) + (waits ? 1 : 0));
      EXPECT_EQ(figures.waiting_bytes, 0);
    }
  }
}

TEST_F(PrefixStoreTest, AFullDiskAndALimitCostNoTailThatCouldNotBeReplaced) {
  // The limit has room for the longer tail in place of the older one, and for nothing beside it.
  const auto store = open(2000);
  ASSERT_TRUE(store);
  ASSERT_TRUE(put(*store, tokens_, 300));
  {
    const testing_support::SmallDisk full(1500);
    EXPECT_TRUE(put(*store, tokens_, 700));
    EXPECT_EQ(states_.serve(*store, tokens_), 300);
  }
  EXPECT_TRUE(put(*store, tokens_, 700));
  EXPECT_EQ(states_.serve(*store, tokens_), 700);
  EXPECT_EQ(store->figures().evictions, 0);
  EXPECT_EQ(files(), 1);
}

TEST_F(PrefixStoreTest, NothingIsGivenUpForWhatADiskFilledByOthersHasNoRoomFor) {
  const std::int64_t one = 256 + 448 + 2 * 200;     // a file of two pages
  const std::int64_t larger = 256 + 448 + 4 * 200;  // and of four
  const std::int64_t limit = 3 * one + 1000;
  std::atomic<std::int64_t> free = limit;
  const auto opened = PrefixStore::open(
      {.directory = directory_, .bytes = limit, .free_bytes = [&free] { return free.load(); }}, states_.format());
  ASSERT_TRUE(opened) << opened.error().message;
  PrefixStore& store = **opened;
  const auto prompt = [](std::uint32_t seed) { return MadeUpStates::tokens(600, seed); };
  for (const std::uint32_t seed : {1U, 2U, 3U}) ASSERT_TRUE(put(store, prompt(seed), 256));
  // The limit asks for 504 bytes of others to go, and the disk for 1,000 more.
  free = 999;
  EXPECT_TRUE(put(store, prompt(4), 512));
  EXPECT_EQ(store.figures().unwritten, 1);
  EXPECT_EQ(store.figures().evictions, 0);
  for (const std::uint32_t seed : {1U, 2U, 3U}) EXPECT_EQ(states_.serve(store, prompt(seed)), 256);
  // With what goes there is room, though the disk alone has not enough.
  free = 1000;
  ASSERT_LT(free, larger);
  EXPECT_TRUE(put(store, prompt(4), 512));
  EXPECT_EQ(states_.serve(store, prompt(4)), 512);
  EXPECT_EQ(store.figures().evictions, 1);
  EXPECT_EQ(states_.serve(store, prompt(1)), 0);
}

TEST_F(PrefixStoreTest, PagesBeyondTheEndAreRefused) {
  const auto store = open();
  ASSERT_TRUE(store);
  for (const std::int64_t length : {256, 700}) ASSERT_TRUE(put(*store, tokens_, length));
  const Hash128 key = MadeUpStates::keys(tokens_).entry(700);
  for (const std::int64_t first : {std::int64_t{-1}, std::int64_t{6}, std::int64_t{1} << 40}) {
    const auto read = store->read(key, first);
    ASSERT_FALSE(read) << first;
    EXPECT_EQ(read.error().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(read.error().message, HasSubstr("has 5"));
  }
  const auto none = store->read(key, 5);
  ASSERT_TRUE(none && none->has_value());
  EXPECT_TRUE((*none)->pages.empty()) << "all its pages are known already";
  EXPECT_EQ(states_.serve(*store, tokens_), 700);
}

// What waits behind a record that cannot be written, and builds on it, is not written either.
TEST_F(PrefixStoreTest, NothingBuildsOnWhatWasNotWritten) {
  const auto store = open();
  ASSERT_TRUE(store);
  const testing_support::SmallDisk full(1400);
  // Ten pages do not fit, those behind them would.
  const Tokens tokens = MadeUpStates::tokens(3000);
  for (const std::int64_t length : {1280, 1408, 1500}) {
    const auto keys = MadeUpStates::keys(std::span(tokens).first(static_cast<std::size_t>(length)));
    (void)states_.put(*store, keys);
  }
  store->flush();
  EXPECT_EQ(states_.serve(*store, tokens), 0);
  EXPECT_EQ(store->figures().files, 0);
  EXPECT_EQ(files(), 0);
}

TEST_F(PrefixStoreTest, ADroppedStateIsGoneWithAllThatBuildsOnIt) {
  const auto store = open();
  ASSERT_TRUE(store);
  for (const std::int64_t length : {128, 256, 640, 700}) ASSERT_TRUE(put(*store, tokens_, length));
  store->drop(MadeUpStates::keys(tokens_).node(2));
  EXPECT_EQ(states_.serve(*store, tokens_), 128);
  EXPECT_EQ(store->figures().corrupt, 3);
  EXPECT_EQ(files(), 1);
}

// A user and the writer at the same time, with little room: files come and go under the reader.
TEST_F(PrefixStoreTest, ServesRightStatesWhileTheWriterWorks) {
  const auto store = open(12'000, 4'000);
  ASSERT_TRUE(store);
  std::int64_t served = 0;
  for (std::uint32_t round = 0; round < 400; ++round) {
    const auto bits = philox({round, 0, 0, 0}, {77, 1});
    const Tokens tokens = MadeUpStates::tokens(1000, bits[0] % 6, 256);
    const std::int64_t length = 1 + bits[1] % 1000;
    const auto begin =
        std::span(tokens).first(static_cast<std::size_t>(bits[2] % 2 == 0 ? length : length / 128 * 128));
    if (!begin.empty()) (void)states_.put(*store, MadeUpStates::keys(begin));
    served += states_.serve(*store, tokens, bits[3] % 4) > 0 ? 1 : 0;
    if (round % 8 == 0) store->flush();
    if (bits[3] % 50 == 0) store->drop(MadeUpStates::keys(tokens).node(2));
  }
  store->flush();
  EXPECT_GT(served, 100);
  EXPECT_LE(store->figures().bytes, 12'000);
  EXPECT_GT(store->figures().evictions, 10);
  EXPECT_EQ(store->figures().waiting_bytes, 0);
  EXPECT_EQ(files(), store->figures().files);
}

/// Fills the cache until it is killed; a byte to `told` says that a few more states are written.
[[noreturn]] void write_until_killed(const std::filesystem::path& directory, const MadeUpStates& states,
                                     std::uint32_t seed, int told) {
  auto store = PrefixStore::open({.directory = directory, .bytes = 3 << 20, .queue_bytes = 1 << 20}, states.format());
  if (!store) ::_exit(1);
  for (std::uint32_t round = 0;; ++round) {
    const auto bits = philox({round, seed, 0, 0}, {78, 1});
    const Tokens tokens = MadeUpStates::tokens(3000, bits[0] % 40, 256);
    (void)states.put(**store, MadeUpStates::keys(std::span(tokens).first(1 + bits[1] % 3000)));
    if (round % 8 != 7) continue;
    (*store)->flush();
    if (::write(told, "w", 1) != 1) ::_exit(1);
  }
}

TEST_F(PrefixStoreTest, AKillAtAnyMomentLeavesOnlyRightStates) {
  const MadeUpStates states(60'000, 3'000);
  std::int64_t served = 0;
  std::int64_t torn = 0;
  for (std::uint32_t kill = 0; kill < 12; ++kill) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) write_until_killed(directory_, states, kill, ends[1]);
    ::close(ends[1]);
    // Something is written first, however slow the machine is; then any moment of what follows.
    for (std::uint32_t groups = 0; groups < 1 + kill % 3; ++groups) {
      char byte = 0;
      ASSERT_EQ(::read(ends[0], &byte, 1), 1) << "the writer ended by itself";
    }
    std::this_thread::sleep_for(std::chrono::microseconds(philox({kill, 0, 0, 0}, {79, 1})[0] % 8'000));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ::close(ends[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself";
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      torn += entry.path().extension() == ".partial" ? 1 : 0;
    }
    auto store = PrefixStore::open({.directory = directory_, .bytes = 3 << 20}, states.format());
    ASSERT_TRUE(store) << store.error().message;
    for (std::uint32_t seed = 0; seed < 40; ++seed) {
      served += states.serve(**store, MadeUpStates::tokens(3000, seed, 256)) > 0 ? 1 : 0;
    }
    EXPECT_EQ((*store)->figures().corrupt, 0) << "a file gets its name when all of it is there";
    EXPECT_EQ(files(), (*store)->figures().files);
  }
  EXPECT_GT(served, 40);
  RecordProperty("torn", std::to_string(torn));
}

}  // namespace
}  // namespace hadal::engine

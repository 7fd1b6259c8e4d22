// What a new user meets: wrong places, damaged downloads, full and read-only disks, Ctrl-C. Each failure is one
// sentence that says what, where and what to do, with the exit code of its class, and leaves nothing behind.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <linux/capability.h>

#include <nlohmann/json.hpp>

#include "program.h"
#include "terminal.h"
#include "testing/temp_directory.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using testing_support::golden;
using testing_support::read_text;
using testing_support::TempDirectory;
using testing_support::write_text;

std::vector<std::string> names_in(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) names.push_back(entry.path().filename());
  return names;
}

void expect_failure(const Finished& finished, int code, const std::string& sentence) {
  EXPECT_EQ(finished.exit_code, code);
  EXPECT_EQ(finished.err, "hadal: " + sentence + "\n");
  EXPECT_EQ(finished.out, "");
}

/// A writable copy of tiny-dspark's checkpoint.
std::string copy_checkpoint(const TempDirectory& folder) {
  const std::filesystem::path copy = folder / "c";
  std::filesystem::copy(golden("tiny-dspark/checkpoint"), copy);
  for (const auto& entry : std::filesystem::directory_iterator(copy)) {
    std::filesystem::permissions(entry.path(), std::filesystem::perms::owner_all);
  }
  return copy;
}

void set_field(const std::string& checkpoint, const std::string& field, const json& value) {
  const std::filesystem::path path = std::filesystem::path(checkpoint) / "config.json";
  auto config = nlohmann::ordered_json::parse(read_text(path));
  config[field] = value;
  write_text(path, config.dump());
}

TEST(NewUser, WrongPlacesAreNamed) {
  const TempDirectory folder;
  for (const char* command : {"inspect", "run"}) {
    std::vector<std::string> arguments{command, "/no/such/place"};
    if (arguments[0] == "run") arguments.emplace_back("1 2 3");
    expect_failure(run_hadal(arguments), 3,
                   "/no/such/place: there is no such directory; name the one that holds config.json and the weights");
    arguments[1] = folder.path();
    expect_failure(
        run_hadal(arguments), 3,
        folder.path().string() + ": holds no config.json; this is not a checkpoint, or its download is incomplete");
  }
}

TEST(NewUser, DamagedDownloadsAreNamed) {
  const TempDirectory folder;
  const std::string checkpoint = copy_checkpoint(folder);
  const std::string shard = "model-00003-of-00006.safetensors";
  std::filesystem::resize_file(std::filesystem::path(checkpoint) / shard, 2'000'000);
  const std::string truncated = fmt::format(
      "{}: {}: tensor 'layers.3.ffn.experts.3.w3.weight' ends at byte 2,001,279 but the file has 2,000,000; the "
      "download is incomplete, fetch it again",
      checkpoint, shard);
  expect_failure(run_hadal({"inspect", checkpoint}), 4, truncated);
  expect_failure(run_hadal({"run", checkpoint, "1 2 3"}), 4, truncated);
  std::filesystem::remove(std::filesystem::path(checkpoint) / shard);
  expect_failure(run_hadal({"inspect", checkpoint}), 3,
                 fmt::format("{}: {}: is missing; the download is incomplete, fetch it again", checkpoint, shard));
}

TEST(NewUser, WrongFieldsAreNamed) {
  const TempDirectory folder;
  const std::string checkpoint = copy_checkpoint(folder);
  const std::string config = checkpoint + "/config.json";
  set_field(checkpoint, "hidden_size", "wide");
  expect_failure(run_hadal({"inspect", checkpoint}), 2,
                 config + ": field 'hidden_size' must be an integer, but is \"wide\"");
  set_field(checkpoint, "hidden_size", 1 << 20);
  expect_failure(run_hadal({"inspect", config}), 2,
                 config + ": field 'hidden_size' must be between 1 and 131072, but is 1048576");
  set_field(checkpoint, "hidden_size", nullptr);
  set_field(checkpoint, "head_dim", -1);
  expect_failure(run_hadal({"run", checkpoint, "1 2 3"}), 2,
                 config +
                     ": 2 things are wrong:\n  - field 'hidden_size' is missing\n"
                     "  - field 'head_dim' must be between 1 and 16384, but is -1");
  set_field(checkpoint, "model_type", "deepseek_v41");
  expect_failure(run_hadal({"inspect", checkpoint}), 5,
                 config +
                     ": 'deepseek_v41' (DeepSeek V4.1) is another architecture than DeepSeek V4 and is not "
                     "supported");
}

TEST(NewUser, TooLittleMemoryIsToldBefore) {
  const std::string checkpoint = golden("tiny-dspark/checkpoint");
  const Finished small = run_hadal({"inspect", checkpoint, "--memory", "0.001", "--context", "1024"});
  EXPECT_EQ(small.exit_code, 0) << small.err;
  EXPECT_THAT(small.out, HasSubstr("A machine of 1.02 MiB (weights and state; activations come on top)\n"
                                   "  all weights in memory: no\n"
                                   "  routed experts streamed from disk: no, the other parts and the state do not "
                                   "fit\n"));
  const Finished run = run_hadal({"run", checkpoint, "1 2 3", "--memory", "100K"});
  EXPECT_EQ(run.exit_code, 6);
  EXPECT_THAT(
      run.err,
      EndsWith("\nhadal: too little memory: the state of 1 sequence of 1,027 tokens needs 406.19 KiB, but 100.00 "
               "KiB are there; no context fits; free memory or raise --memory\n"));
  // Also when it is the system that says no.
  const auto limit = [] {
    const rlimit bytes{.rlim_cur = rlim_t{256} << 20, .rlim_max = rlim_t{256} << 20};
    return ::setrlimit(RLIMIT_AS, &bytes) == 0;
  };
  const Finished denied =
      run_hadal({"run", checkpoint, "1 2 3", "--threads", "1", "--context", "4000000", "--memory", "16G"}, {}, limit);
  ASSERT_NE(denied.exit_code, kNotPrepared);
  expect_failure(denied, 6, "cannot map 518000000 bytes of memory: Cannot allocate memory; ask for less or free some");
  const TempDirectory folder;
  write_text(folder / "prompt", "");
  std::filesystem::resize_file(folder / "prompt", std::uintmax_t{150} << 20);
  const Finished full = run_hadal({"run", checkpoint, "--file", folder / "prompt", "--threads", "1"}, {}, limit);
  ASSERT_NE(full.exit_code, kNotPrepared);
  expect_failure(full, 6, "the system gives no more memory; free some, or use a smaller --context or --chunk");
}

TEST(Init, WritesACheckpointThatRuns) {
  const TempDirectory folder;
  const std::string target = folder / "tiny";
  const Finished made = run_hadal({"init", target, "--preset", "tiny", "--seed", "3"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_EQ(made.out, target + ": a random checkpoint written\n");
  EXPECT_EQ(made.err, "");
  EXPECT_THAT(names_in(folder.path()), ::testing::ElementsAre("tiny"));
  const Finished looked = run_hadal({"inspect", target});
  EXPECT_EQ(looked.exit_code, 0) << looked.err;
  EXPECT_THAT(looked.out, StartsWith(target + ": a DeepSeek V4 model of its own dimensions\n"));
  const Finished answered = run_hadal({"run", target, "1 2 3", "--max-tokens", "4", "--ignore-eos", "--quiet"});
  EXPECT_EQ(answered.exit_code, 0) << answered.err;
  EXPECT_EQ(std::count(answered.out.begin(), answered.out.end(), ' '), 3);
}

TEST(Init, NeverTouchesWhatIsThere) {
  const TempDirectory folder;
  write_text(folder / "precious", "x");
  expect_failure(run_hadal({"init", folder.path(), "--preset", "tiny"}), 2,
                 folder.path().string() + ": is not empty; name a directory that does not exist yet");
  expect_failure(run_hadal({"init", folder / "precious", "--preset", "tiny"}), 2,
                 (folder / "precious").string() + ": is a file; name a directory that does not exist yet");
  expect_failure(
      run_hadal({"init", folder / "no/where", "--preset", "tiny"}), 3,
      (folder / "no").string() + ": there is no such directory to write into; make it first, or choose another place");
  expect_failure(run_hadal({"init", folder / "c", "--preset", "huge"}), 2,
                 "preset 'huge' is unknown; there are tiny, bench, flash, flash-0731, pro, pro-0813");
  EXPECT_THAT(names_in(folder.path()), ::testing::ElementsAre("precious"));
  EXPECT_EQ(read_text(folder / "precious"), "x");
}

/// Takes from the process the right to write where it is not allowed to: what makes root obey permissions.
bool obey_permissions() { return ::geteuid() != 0 || ::prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) == 0; }

TEST(Init, ReadOnlyPlacesAreNamed) {
  const TempDirectory folder;
  const std::filesystem::path locked = folder / "locked";
  std::filesystem::create_directory(locked);
  std::filesystem::permissions(locked, std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  const Finished denied = run_hadal({"init", locked / "c", "--preset", "tiny"}, {}, obey_permissions);
  ASSERT_NE(denied.exit_code, kNotPrepared);
  expect_failure(denied, 7,
                 (locked / "c").string() +
                     ": cannot create it: Permission denied; choose a place that can be written "
                     "to");
  EXPECT_THAT(names_in(locked), IsEmpty());
  // A file system in which nothing can be made, whoever asks.
  expect_failure(run_hadal({"init", "/proc/c", "--preset", "tiny"}), 7,
                 "/proc/c: cannot create it: No such file or directory; choose a place that can be written to");
}

/// Mounts a memory disk on `place` that only the new process sees. False where this is not allowed.
bool mount_disk(const std::filesystem::path& place, unsigned long flags, const char* options) {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("none", place.c_str(), "tmpfs", flags, options) == 0;
}

TEST(Init, ReadOnlyDisksAreNamed) {
  const TempDirectory folder;
  const Finished denied = run_hadal({"init", folder / "c", "--preset", "tiny"}, {},
                                    [&] { return mount_disk(folder.path(), MS_RDONLY, nullptr); });
  if (denied.exit_code == kNotPrepared) GTEST_SKIP() << "mounting is not allowed here: a read-only disk is not tested";
  expect_failure(denied, 7,
                 (folder / "c").string() +
                     ": cannot create it: Read-only file system; choose a place that can be "
                     "written to");
}

TEST(Init, FullDisksAreNamed) {
  const TempDirectory folder;
  // Too small from the beginning.
  const Finished small = run_hadal({"init", folder / "c", "--preset", "tiny"}, {},
                                   [&] { return mount_disk(folder.path(), 0, "size=1m"); });
  if (small.exit_code == kNotPrepared) GTEST_SKIP() << "mounting is not allowed here: a full disk is not tested";
  EXPECT_EQ(small.exit_code, 6);
  EXPECT_THAT(small.err, ::testing::MatchesRegex(
                             "hadal: .*/c: the checkpoint needs [0-9.]+ MiB, but the disk has 1.00 MiB left; free some "
                             "room or choose another place\n"));
  // Full in the middle: the headers of a sparse checkpoint are not counted beforehand.
  const Finished full = run_hadal({"init", folder / "c", "--preset", "flash", "--sparse"}, {},
                                  [&] { return mount_disk(folder.path(), 0, "size=256k"); });
  EXPECT_EQ(full.exit_code, 6);
  EXPECT_THAT(full.err, ::testing::MatchesRegex("hadal: .*safetensors: cannot write to it: No space left on device; "
                                                "free some room or choose another place\n"));
}

TEST(Init, AWriteThatFailsLeavesNothing) {
  const TempDirectory folder;
  const Finished limited = run_hadal({"init", folder / "c", "--preset", "tiny"}, {}, [] {
    const rlimit limit{.rlim_cur = 100'000, .rlim_max = 100'000};
    return ::setrlimit(RLIMIT_FSIZE, &limit) == 0;
  });
  ASSERT_NE(limited.exit_code, kNotPrepared);
  EXPECT_EQ(limited.exit_code, 6);
  EXPECT_THAT(limited.err, ::testing::MatchesRegex("hadal: .*safetensors: cannot write to it: File too large; "
                                                   "free some room or choose another place\n"));
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
}

TEST(Init, CtrlCLeavesNothing) {
  const TempDirectory folder;
  const std::string target = folder / "c";
  Terminal terminal({"init", target, "--preset", "bench", "--threads", "1"});
  ASSERT_TRUE(terminal.read_until(" % ")) << terminal.shown();  // the progress line: some data is written
  const std::string partial = fmt::format("c.{}.partial", terminal.process());
  EXPECT_THAT(names_in(folder.path()), ::testing::ElementsAre(partial));
  terminal.interrupt();
  terminal.read_to_end();
  EXPECT_EQ(terminal.wait(), 130);
  EXPECT_THAT(terminal.shown(),
              HasSubstr("\r\x1b[Khadal: " + target + ": stopped before its end; nothing of it is left\r\n"));
  EXPECT_THAT(names_in(folder.path()), IsEmpty());
}

TEST(Init, WhatAKilledOneLeavesDoesNotLookComplete) {
  const TempDirectory folder;
  Terminal terminal({"init", folder / "c", "--preset", "bench", "--threads", "1"});
  ASSERT_TRUE(terminal.read_until(" % ")) << terminal.shown();
  const std::filesystem::path partial = folder / fmt::format("c.{}.partial", terminal.process());
  terminal.kill();
  EXPECT_EQ(terminal.wait(), 128 + SIGKILL);
  EXPECT_FALSE(std::filesystem::exists(folder / "c"));
  ASSERT_TRUE(std::filesystem::exists(partial));
  for (const std::string& name : names_in(partial)) EXPECT_THAT(name, EndsWith(".partial"));
  expect_failure(run_hadal({"inspect", partial}), 3,
                 partial.string() + ": holds no config.json; this is not a checkpoint, or its download is incomplete");
}

TEST(Run, APromptBeyondTheModelsPositionsIsAWarning) {
  const TempDirectory folder;
  const std::string checkpoint = copy_checkpoint(folder);
  std::string prompt;
  for (int token = 0; token < 20; ++token) prompt += fmt::format("{} ", 7 * token);
  const std::vector<std::string> more{"--backend", "reference", "--context", "64", "--max-tokens", "3", "--ignore-eos"};
  const auto run = [&] {
    std::vector<std::string> arguments{"run", checkpoint, prompt};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_hadal(arguments);
  };
  const Finished within = run();
  EXPECT_EQ(within.exit_code, 0) << within.err;
  EXPECT_THAT(within.err, Not(HasSubstr("positions")));
  set_field(checkpoint, "max_position_embeddings", 16);
  const Finished beyond = run();
  EXPECT_EQ(beyond.exit_code, 0) << beyond.err;
  EXPECT_THAT(beyond.err, HasSubstr("the prompt has 20 tokens, but the model was made for at most 16 positions; "
                                    "answers may be poor"));
  EXPECT_EQ(beyond.out, within.out);
}

TEST(Run, ALongPromptShowsItsProgressOnATerminal) {
  const TempDirectory folder;
  std::string prompt;
  for (int token = 0; token < 50'000; ++token) prompt += fmt::format("{} ", token % 384);
  write_text(folder / "prompt", prompt);
  Terminal terminal({"run", golden("tiny-dspark/checkpoint"), "--backend", "reference", "--file", folder / "prompt",
                     "--chunk", "16", "--max-tokens", "1", "--context", "60000"});
  ASSERT_TRUE(terminal.read_until(" left\x1b[K")) << terminal.shown();
  EXPECT_THAT(terminal.shown(), ::testing::ContainsRegex("\rReading the prompt \\[#*\\.+\\] [0-9,]+ of 50,000 tokens, "
                                                         "[0-9]+ .*left"));
  terminal.interrupt();
  terminal.read_to_end();
  EXPECT_EQ(terminal.wait(), 130);
  EXPECT_THAT(terminal.shown(), HasSubstr("\r\x1b[K"));  // the line is taken away
}

}  // namespace
}  // namespace hadal::e2e

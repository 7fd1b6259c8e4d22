// The commands run, chat and perplexity as a user runs them.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "formats/safetensors.h"
#include "interactive.h"
#include "program.h"
#include "testing/byte_tokenizer.h"
#include "testing/temp_directory.h"

namespace hadal::e2e {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const std::string kCheckpoint = HADAL_SOURCE_DIR "/tests/golden/tiny-dspark/checkpoint";
const std::string kGolden = HADAL_SOURCE_DIR "/tests/golden/tiny-dspark/exact.safetensors";

std::vector<std::int64_t> golden_ids(const std::string& name) {
  const auto file = formats::SafetensorsFile::open(kGolden).value();
  const auto tensor = file->tensor(name).value();
  std::vector<std::int64_t> ids(static_cast<std::size_t>(tensor.shape.elements()));
  std::memcpy(ids.data(), tensor.data, ids.size() * sizeof(std::int64_t));
  return ids;
}

std::string joined(std::span<const std::int64_t> ids) { return fmt::format("{}", fmt::join(ids, " ")); }

std::vector<std::string> run_arguments(std::vector<std::string> more) {
  std::vector<std::string> arguments{"run", kCheckpoint, "--backend", "reference", "--numerics", "exact"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(Logits, WritesATraceThatNests) {
  const testing_support::TempDirectory temp;
  const std::string trace = (temp / "trace.json").string();
  const Finished finished =
      run_hadal({"logits", kCheckpoint, "--backend", "reference", "--numerics", "exact", "--tokens", kGolden,
                 "--positions", "3", "--out", (temp / "out.safetensors").string(), "--trace", trace});
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  const json events = json::parse(testing_support::read_text(trace)).at("traceEvents");
  std::map<std::string, int> counts;
  double phase_end = 0;  // of the last forward, or of the plan, which goes through the layers as well
  for (const json& event : events) {
    const std::string name = event.at("name");
    const double end = event.at("ts").get<double>() + event.at("dur").get<double>();
    ++counts[name];
    if (name == "forward" || name == "plan") phase_end = end;
    if (name == "layer") {
      EXPECT_LE(end, phase_end);
    }
    if (name == "linear") {
      EXPECT_GE(event.at("args").at("rows"), 1);
    }
  }
  EXPECT_EQ(counts["plan"], 1);
  EXPECT_GE(counts["forward"], 1);
  EXPECT_GT(counts["linear"], counts["layer"]);
  EXPECT_EQ(counts["commit"], counts["forward"]);
}

TEST(Logits, RefusesATraceThatCannotBeWrittenBeforeItWorks) {
  const testing_support::TempDirectory temp;
  const std::string out = (temp / "out.safetensors").string();
  const std::string trace = (temp / "none" / "trace.json").string();
  const Finished finished = run_hadal({"logits", kCheckpoint, "--backend", "reference", "--tokens", kGolden,
                                       "--positions", "3", "--out", out, "--trace", trace});
  EXPECT_EQ(finished.exit_code, 3);
  EXPECT_EQ(finished.err, "hadal: --trace: " + trace +
                              ": cannot create it: No such file or directory; name a file in a directory that can be "
                              "written\n");
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Run, WritesTheGoldenContinuation) {
  const auto tokens = golden_ids("tokens");
  const auto decode = golden_ids("decode.tokens");
  const std::string prompt = joined(std::span(tokens).first(200));
  const std::string expected = joined(std::span(decode).first(30)) + "\n";
  for (const char* const mode : {"off", "on", "auto"}) {
    const Finished finished = run_hadal(run_arguments({prompt, "--max-tokens", "30", "--draft", mode}));
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    EXPECT_EQ(finished.out, expected) << mode;
    EXPECT_THAT(finished.err, AllOf(HasSubstr("prefill 200 tokens, "), HasSubstr("; answer 30 tokens, ")));
  }
  // The prompt from standard input, everything as JSON.
  const Finished finished =
      run_hadal(run_arguments({"--max-tokens", "30", "--draft", "on", "--json", "--logprobs", "2"}), prompt);
  ASSERT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_EQ(finished.err, "");
  const json answer = json::parse(finished.out);
  EXPECT_EQ(answer["tokens"], json(std::vector<std::int64_t>(decode.begin(), decode.begin() + 30)));
  EXPECT_EQ(answer["finish_reason"], "length");
  EXPECT_EQ(answer["numerics"], "exact");
  EXPECT_EQ(answer["prompt_tokens"], 200);
  EXPECT_GT(answer["statistics"]["accepted"], 0);
  ASSERT_EQ(answer["logprobs"].size(), 30U);
  EXPECT_EQ(answer["logprobs"][0]["token"], decode[0]);
  EXPECT_EQ(answer["logprobs"][0]["best"].size(), 2U);
  EXPECT_EQ(answer["logprobs"][0]["best"][0]["token"], decode[0]);
  EXPECT_EQ(answer["logprobs"][0]["best"][0]["logprob"], answer["logprobs"][0]["logprob"]);
}

TEST(Run, ASeedKeepsItsMeaning) {
  const auto answer = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"5 6 7 8", "--max-tokens", "20", "--temperature", "1", "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished finished = run_hadal(run_arguments(arguments));
    EXPECT_EQ(finished.exit_code, 0) << finished.err;
    return finished.out;
  };
  const std::string first = answer({"--seed", "1", "--draft", "off"});
  EXPECT_EQ(answer({"--seed", "1", "--draft", "on", "--chunk", "3"}), first);
  EXPECT_NE(answer({"--seed", "2"}), first);
}

TEST(Run, ErrorsSayWhatIsWrong) {
  const testing_support::TempDirectory empty;
  const auto fails = [](const Finished& finished, int code, const std::string& message) {
    EXPECT_EQ(finished.exit_code, code) << finished.err;
    EXPECT_THAT(finished.err, HasSubstr(message));
    EXPECT_EQ(finished.out, "");
  };
  fails(run_hadal({"run", "/no/such/place", "1 2"}), 3, "/no/such/place");
  fails(run_hadal({"run", empty.path().string(), "1 2"}), 3, "config.json");
  fails(run_hadal(run_arguments({"1 2", "--no-such-flag"})), 2, "--no-such-flag");
  fails(run_hadal(run_arguments({"Hello"})), 2,
        "hadal: 'Hello' is no token id; this checkpoint has no tokenizer, so the prompt must be token ids");
  fails(run_hadal(run_arguments({"1 2 384"})), 2, "token id 384 at position 2 is outside the vocabulary of 384");
  fails(run_hadal(run_arguments({""})), 2, "the prompt has no tokens");
  fails(run_hadal(run_arguments({"1", "--temperature", "-1"})), 2, "temperature is -1, but must be from 0");
  fails(run_hadal(run_arguments({"1", "--draft", "maybe"})), 2, "draft mode 'maybe' is unknown");
  fails(run_hadal(run_arguments({"1", "--memory", "lots"})), 2, "'lots' is no amount of memory");
  fails(run_hadal(run_arguments({"1", "--memory", "100K"})), 6, "too little memory: the state of 1 sequence of");
  fails(run_hadal(run_arguments({"1", "--memory", "16M", "--context", "1000000"})), 6, "use --context ");
  fails(run_hadal(run_arguments({"1", "--file", empty.path() / "none"})), 2, "excludes");
  fails(run_hadal({"run", kCheckpoint, "--backend", "abacus", "1"}), 2, "backend 'abacus' is unknown");
  fails(run_hadal({"run", kCheckpoint, "--numerics", "loose", "1"}), 2, "loose");
  fails(run_hadal({"chat", kCheckpoint}), 5, "has no tokenizer, which a chat needs");
  fails(run_hadal({"perplexity", kCheckpoint, empty.path() / "none"}), 3, "none");
}

TEST(Run, AnOutputThatCannotBeWrittenIsAnError) {
  const testing_support::TempDirectory folder;
  const std::string errors = folder.path() / "errors";
  const auto run_with = [&](const std::string& redirection) {
    const std::string command = fmt::format("'{}' run '{}' --backend reference '1 2 3' --max-tokens 4 {} 2>'{}'",
                                            HADAL_PROGRAM, kCheckpoint, redirection, errors);
    const int status = std::system(command.c_str());
    std::ostringstream text;
    text << std::ifstream(errors).rdbuf();
    return Finished{WEXITSTATUS(status), "", text.str()};
  };
  const Finished full = run_with(">/dev/full");
  EXPECT_EQ(full.exit_code, 7);
  EXPECT_THAT(full.err, HasSubstr("standard output: cannot write to it: No space left on device"));
  const Finished closed = run_with(">&-");
  EXPECT_EQ(closed.exit_code, 7);
  EXPECT_THAT(closed.err, HasSubstr("standard output: cannot write to it: Bad file descriptor"));
}

TEST(Run, CtrlCEndsTheAnswerCleanly) {
  const testing_support::TempDirectory folder;
  Running running(run_arguments({"1 2 3", "--max-tokens", "1000000", "--context", "60000", "--ignore-eos"}),
                  folder.path() / "errors");
  const std::string first = running.read_some();
  EXPECT_FALSE(first.empty());
  running.signal(SIGINT);
  const std::string rest = running.read_to_end();
  EXPECT_EQ(running.wait(), 130);
  EXPECT_TRUE((first + rest).ends_with("\n"));
  EXPECT_THAT(running.errors(), HasSubstr("; answer "));
}

/// A checkpoint's directory with a tokenizer for texts.
std::vector<std::string> chat_arguments(const testing_support::TempDirectory& folder, std::vector<std::string> more) {
  const std::string tokenizer = folder.path() / "tokenizer.json";
  std::ofstream(tokenizer) << testing::byte_tokenizer_json(384);
  std::vector<std::string> arguments{"chat", kCheckpoint, "--backend", "reference", "--tokenizer", tokenizer};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(Chat, KeepsTheConversationAndObeysCommands) {
  const testing_support::TempDirectory folder;
  const std::string saved = folder.path() / "saved.json";
  const Finished finished = run_hadal(
      chat_arguments(folder, {"--max-tokens", "6", "--temperature", "0"}),
      fmt::format(
          "/system Be brief.\nHello\nAnd you?\n/think\n/think wildly\n/nonsense\n\n/save {}\n/reset\n//x\n/exit\n"
          "never read\n",
          saved));
  EXPECT_EQ(finished.exit_code, 0) << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("off\n"));
  EXPECT_THAT(finished.err, HasSubstr("hadal: 'wildly' is no level"));
  EXPECT_THAT(finished.err, HasSubstr("hadal: /nonsense is no command"));
  EXPECT_THAT(finished.err, HasSubstr("(0 tokens reused; "));
  EXPECT_THAT(finished.err, HasSubstr("(5 messages in "));
  const json messages = json::parse(std::ifstream(saved))["messages"];
  ASSERT_EQ(messages.size(), 5U);
  EXPECT_EQ(messages[0], (json{{"role", "system"}, {"content", "Be brief."}}));
  EXPECT_EQ(messages[1], (json{{"role", "user"}, {"content", "Hello"}}));
  EXPECT_EQ(messages[2]["role"], "assistant");
  EXPECT_EQ(messages[3]["content"], "And you?");
  EXPECT_THAT(finished.out, StartsWith(messages[2]["content"].get<std::string>() + "\n"));
}

TEST(Chat, CtrlCStopsTheAnswerAndNotTheProgram) {
  const testing_support::TempDirectory folder;
  Running running(chat_arguments(folder, {"--max-tokens", "1000000", "--context", "60000", "--temperature", "1"}),
                  folder.path() / "errors");
  running.write("Hello\n");
  std::string out = running.read_some();
  EXPECT_FALSE(out.empty());
  running.signal(SIGINT);
  running.write("/think\n/exit\n");
  out += running.read_to_end();
  EXPECT_EQ(running.wait(), 0) << running.errors();
  EXPECT_THAT(running.errors(), HasSubstr("(stopped)"));
  EXPECT_TRUE(out.ends_with("off\n"));
}

TEST(Perplexity, MeasuresIdsAndTexts) {
  const testing_support::TempDirectory folder;
  const auto tokens = golden_ids("tokens");
  const std::string ids = folder.path() / "ids.txt";
  std::ofstream(ids) << joined(std::span(tokens).first(120));
  const Finished whole = run_hadal({"perplexity", kCheckpoint, ids, "--backend", "reference", "--json"});
  ASSERT_EQ(whole.exit_code, 0) << whole.err;
  const json figures = json::parse(whole.out);
  EXPECT_EQ(figures["measured_tokens"], 119);
  EXPECT_EQ(figures["windows"], 1);
  const auto per_token = figures["bits_per_token"].get<double>();
  EXPECT_GT(per_token, 1);
  EXPECT_LT(per_token, 20);
  EXPECT_DOUBLE_EQ(figures["perplexity"].get<double>(), std::exp2(per_token));
  EXPECT_FALSE(figures.contains("bits_per_byte"));
  const Finished chunked =
      run_hadal({"perplexity", kCheckpoint, ids, "--backend", "reference", "--json", "--chunk", "7"});
  EXPECT_EQ(json::parse(chunked.out)["bits"], figures["bits"]);

  const std::string tokenizer = folder.path() / "tokenizer.json";
  std::ofstream(tokenizer) << testing::byte_tokenizer_json(384);
  const std::string text = folder.path() / "text.txt";
  std::ofstream(text) << "Caf\xC3\xA9 au lait";
  const Finished bytes = run_hadal({"perplexity", kCheckpoint, text, "--backend", "reference", "--tokenizer", tokenizer,
                                    "--bos", "--json", "--context", "8", "--stride", "8"});
  ASSERT_EQ(bytes.exit_code, 0) << bytes.err;
  const json byte_figures = json::parse(bytes.out);
  EXPECT_EQ(byte_figures["bytes"], 13);
  EXPECT_EQ(byte_figures["measured_tokens"], 13);
  EXPECT_EQ(byte_figures["windows"], 2);
  EXPECT_DOUBLE_EQ(byte_figures["bits_per_byte"].get<double>(), byte_figures["bits"].get<double>() / 13);
}

}  // namespace
}  // namespace hadal::e2e

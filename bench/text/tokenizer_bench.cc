// Speed of the tokenizer, one thread: MB/s of text encoded, tokens/s decoded. Goals: 20 MB/s of English and code, 8
// MB/s of Chinese, 20 M tokens/s; the limit beside them is the split by PCRE2 alone, which is measured here too. The V4
// vocabulary is that of tests/golden/text. Texts: HADAL_BENCH_ENGLISH, HADAL_BENCH_CHINESE name files; without them the
// texts are generated (see sample_words). C++ is the project's own src/text.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/philox.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace hadal::text {
namespace {

constexpr std::size_t kTextBytes = 4 << 20;

const Tokenizer& v4() {
  static const Result<Tokenizer> tokenizer = Tokenizer::load(HADAL_SOURCE_DIR "/tests/golden/text/tokenizer.json.zst");
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  return *tokenizer;
}

std::string read(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::uint32_t random_number(std::uint32_t number) { return philox({number, 0, 0, 0}, {7, 0})[0]; }

// Tokens of the vocabulary that `wanted` accepts, drawn so that low ids (frequent tokens) come more often, with a mark
// after about every tenth.
template <class Wanted>
std::string sample_words(Wanted wanted, const std::vector<std::string>& marks) {
  std::vector<std::string_view> words;
  for (std::int32_t id = 259; id < 128000; ++id) {
    if (wanted(v4().token_bytes(id))) words.push_back(v4().token_bytes(id));
  }
  std::string text;
  for (std::uint32_t number = 0; text.size() < kTextBytes; number += 3) {
    const double share = random_number(number) / 4294967296.0;
    text += words[static_cast<std::size_t>(share * share * share * static_cast<double>(words.size()))];
    if (random_number(number + 1) % 10 == 0) text += marks[random_number(number + 2) % marks.size()];
  }
  return text;
}

std::string from_file_or(const char* variable, std::string (*generate)()) {
  const char* const path = std::getenv(variable);
  return path != nullptr ? read(path) : generate();
}

std::string generate_english() {
  const auto is_word = [](std::string_view token) {
    return token.size() > 1 && token[0] == ' ' &&
           std::all_of(token.begin() + 1, token.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  };
  return sample_words(is_word, {".", ",", ".\n\n", " 1984", "'s"});
}

std::string generate_chinese() {
  const auto is_word = [](std::string_view token) {
    if (find_ill_formed(token)) return false;
    for (std::size_t at = 0; at < token.size();) {
      const Decoded decoded = decode_utf8(token.data() + at);
      if (decoded.code_point < 0x4E00 || decoded.code_point > 0x9FA5) return false;
      at += static_cast<std::size_t>(decoded.size);
    }
    return true;
  };
  return sample_words(is_word, {"，", "。", "！\n"});
}

const std::string& english() {
  static const std::string text = from_file_or("HADAL_BENCH_ENGLISH", generate_english);
  return text;
}
const std::string& chinese() {
  static const std::string text = from_file_or("HADAL_BENCH_CHINESE", generate_chinese);
  return text;
}
const std::string& cpp() {
  static const std::string text = [] {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(HADAL_SOURCE_DIR "/src/text")) {
      if (entry.path().extension() == ".cc" || entry.path().extension() == ".h") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    std::string all;
    while (all.size() < kTextBytes) {
      for (const auto& file : files) all += read(file);
    }
    return all;
  }();
  return text;
}
const std::string& one_piece() {
  static const std::string text(1'000'000, 'A');
  return text;
}

using Text = const std::string& (*)();

void encode(benchmark::State& state, Text text) {
  std::size_t tokens = 0;
  for (auto _ : state) {
    const auto ids = v4().encode(text());
    benchmark::DoNotOptimize(tokens = ids->size());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text().size()));
  state.counters["bytes_per_token"] = static_cast<double>(text().size()) / static_cast<double>(tokens);
}

// The limit: only cutting, by the three PCRE2 patterns.
void split_by_pcre2(benchmark::State& state, Text text) {
  const auto splits = PreTokenizer::compile({std::begin(kV4Patterns), std::end(kV4Patterns)});
  for (auto _ : state) benchmark::DoNotOptimize(splits->piece_ends(text())->size());
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text().size()));
}

void split_by_scanner(benchmark::State& state, Text text) {
  const auto splits = PreTokenizer::compile({std::begin(kV4Patterns), std::end(kV4Patterns)});
  for (auto _ : state) {
    std::size_t pieces = 0;
    benchmark::DoNotOptimize(splits->for_each_piece(text(), [&pieces](std::string_view) { ++pieces; }));
    benchmark::DoNotOptimize(pieces);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text().size()));
}

void decode(benchmark::State& state, Text text) {
  const auto ids = v4().encode(text());
  for (auto _ : state) benchmark::DoNotOptimize(v4().decode(*ids)->size());
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(ids->size()));
}

void decode_streaming(benchmark::State& state, Text text) {
  const auto ids = v4().encode(text());
  std::string piece;
  for (auto _ : state) {
    DetokenizingStream stream(v4());
    for (const std::int32_t id : *ids) {
      piece.clear();
      benchmark::DoNotOptimize(stream.push(id, piece).has_value());
    }
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(ids->size()));
}

void load(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(Tokenizer::load(HADAL_SOURCE_DIR "/tests/golden/text/tokenizer.json.zst")->vocab_size());
  }
}

BENCHMARK_CAPTURE(encode, english, english)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, chinese, chinese)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, cpp, cpp)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, one_piece_of_1_MB, one_piece)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(split_by_pcre2, english, english)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(split_by_pcre2, chinese, chinese)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(split_by_pcre2, cpp, cpp)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(split_by_scanner, english, english)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(split_by_scanner, chinese, chinese)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(split_by_scanner, cpp, cpp)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode, english, english)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode_streaming, english, english)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode_streaming, chinese, chinese)->Unit(benchmark::kMillisecond);
BENCHMARK(load)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::text

BENCHMARK_MAIN();

#include "train/finetune.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "train/data/token_set.h"

namespace hadal::train {
namespace {

namespace fs = std::filesystem;

/// A basic string of TOML.
std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x20 || code == 0x7F) {
      out += fmt::format("\\u{:04X}", code);
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + '"';
}

std::string toml_path(const fs::path& path) { return toml_string(fs::absolute(path).lexically_normal().string()); }

struct Source {
  fs::path folder;
  std::string name;
  std::int64_t tokens = 0;
  bool chats = false;
};

struct Sources {
  std::vector<Source> all;
  std::int64_t chat_tokens = 0;
  std::int64_t plain_tokens = 0;
};

Result<Sources> open_sources(const FinetuneOptions& options) {
  Sources sources;
  std::set<std::string> names;
  for (const fs::path& folder : options.sets) {
    HADAL_ASSIGN(const TokenSet set, TokenSet::open(folder));
    std::string name = set.meta().name;
    for (int number = 2; !names.insert(name).second; ++number) name = fmt::format("{}-{}", set.meta().name, number);
    sources.all.push_back({folder, name, set.tokens(), set.meta().has_mask});
    (set.meta().has_mask ? sources.chat_tokens : sources.plain_tokens) += set.tokens();
  }
  if (sources.chat_tokens == 0) {
    return fail(ErrorCode::kInvalidArgument,
                "none of the inputs holds conversations; give a JSONL file whose lines have 'messages'");
  }
  return sources;
}

Status check(const FinetuneOptions& options) {
  if (!(options.epochs > 0 && options.epochs <= 1000)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the number of epochs is {}, but must lie in (0, 1000]", options.epochs));
  }
  if (!(options.plain_share >= 0 && options.plain_share < 1)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the share of plain text is {}, but must lie in [0, 1)", options.plain_share));
  }
  if (options.sequence < 2 || options.batch < 1 || options.micro_batch < 1) {
    return fail(ErrorCode::kInvalidArgument, "rows must have 2 tokens at least, steps and micro-batches 1");
  }
  return {};
}

}  // namespace

Result<std::string> finetune_config(const FinetuneOptions& options) {
  HADAL_TRY(check(options));
  HADAL_ASSIGN(const Sources sources, open_sources(options));
  const double plain_share = sources.plain_tokens > 0 ? options.plain_share : 0;
  const std::int64_t rows = (options.batch + options.sequence - 1) / options.sequence;
  const std::int64_t tokens =
      std::llround(std::ceil(options.epochs * static_cast<double>(sources.chat_tokens) / (1 - plain_share)));

  std::string text = "# Written by hadal finetune; hadal train reads it too. Keys: docs/training.md.\n";
  text += fmt::format("name = {}\nmodel = {}\ntokenizer = {}\ninitial = {}\nseed = {}\nmicro_batch = {}\n",
                      toml_string(options.name), toml_path(options.model / "config.json"), toml_path(options.model),
                      toml_path(options.model), options.seed, std::max(options.micro_batch, options.sequence));
  text += fmt::format("\n[data]\nlongest_piece = {}\nvalidation = [", options.sequence);
  for (const fs::path& folder : options.validation) text += toml_path(folder) + ", ";
  text += "]\n";
  for (const Source& source : sources.all) {
    text +=
        fmt::format("\n[[data.sources]]\nname = {}\nfolder = {}\n", toml_string(source.name), toml_path(source.folder));
    // The shares of the sets of plain text are as their sizes; the conversations take the rest, as theirs.
    text += source.chats ? std::string("epochs = 1\n")
                         : fmt::format("share = {}\n", plain_share * static_cast<double>(source.tokens) /
                                                           static_cast<double>(sources.plain_tokens));
  }
  text += fmt::format(
      "\n[schedule]\ntokens = {}\npeak = {}\nfinal = 0\nwarmup_steps = 20\ndecay_share = 1\n"
      "decay = \"linear\"\n",
      tokens, options.learning_rate);
  // The bias that balances the experts stays as it is; the loss of single sequences goes on working.
  text += "\n[loss]\nbias_speed = 0\n";
  text += fmt::format("\n[[stages]]\nsequence = {}\nbatch = {}\nquantized = {}\n", options.sequence,
                      rows * options.sequence, options.quantized);
  return text;
}

}  // namespace hadal::train

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"
#include "text/bpe_trainer.h"

// New tokenizers in V4's layout: BOS 0, EOS 1, PAD 2, the 256 bytes, the merges in order, then the markers of the chat
// encoding and reserved tokens up to a multiple of kVocabStep.
namespace hadal::text {

inline constexpr std::int64_t kVocabStep = 128;
inline constexpr std::int64_t kReservedTokens = 16;  // at least

/// Merges that a vocabulary of `vocab_size` entries (rounded up to a multiple of kVocabStep) has room for.
/// Error: kInvalidArgument (too small for the bytes and markers, or beyond the limit of ids).
[[nodiscard]] Result<std::int64_t> merges_for(std::int64_t vocab_size);

/// The tokenizer.json: V4's pre-tokenizer, the merges of `bpe`, V4's flags for the added tokens. With fewer merges than
/// merges_for(vocab_size) the vocabulary ends at the next multiple of kVocabStep.
[[nodiscard]] std::string tokenizer_json(const TrainedBpe& bpe);

/// The tokenizer_config.json beside it: names of BOS, EOS and PAD; nothing is added to an encoded text.
[[nodiscard]] std::string tokenizer_config_json();

/// Writes both files into `directory`, each atomically. Errors: those of write_file_atomically.
[[nodiscard]] Status write_tokenizer(const std::filesystem::path& directory, const TrainedBpe& bpe);

}  // namespace hadal::text

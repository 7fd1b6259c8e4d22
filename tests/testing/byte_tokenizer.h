#pragma once

#include <string>
#include <vector>

#include <fmt/format.h>

#include "text/utf8.h"

namespace hadal::testing {

/// A tokenizer.json of `vocab_size` ids for checkpoints with tiny vocabularies: BOS 0, EOS 1, pad 2, one token a byte
/// (byte b has id 3 + b), the chat markers from 259 on, and special place holders up to the end.
inline std::string byte_tokenizer_json(int vocab_size) {
  const auto quoted = [](const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    return out + "\"";
  };
  std::string vocab;
  char32_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    std::string character;
    text::append_utf8(itself ? static_cast<char32_t>(byte) : next++, character);
    vocab += fmt::format("{}{}: {}", byte == 0 ? "" : ", ", quoted(character), 3 + byte);
  }
  struct Added {
    int id;
    std::string content;
    bool special;
  };
  std::vector<Added> added{{0, "<｜begin▁of▁sentence｜>", true},
                           {1, "<｜end▁of▁sentence｜>", true},
                           {2, "<｜▁pad▁｜>", true},
                           {259, "<｜User｜>", false},
                           {260, "<｜Assistant｜>", false},
                           {261, "<think>", false},
                           {262, "</think>", false},
                           {263, "<｜latest_reminder｜>", false},
                           {264, "｜DSML｜", false}};
  for (int id = 265; id < vocab_size; ++id) added.push_back({id, fmt::format("<｜place▁holder▁no▁{}｜>", id), true});
  std::string entries;
  for (const Added& token : added) {
    entries += fmt::format(
        R"({}{{"id": {}, "content": {}, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": {}}})",
        entries.empty() ? "" : ", ", token.id, quoted(token.content), token.special);
  }
  return fmt::format(
      R"({{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [{}],
"normalizer": {{"type": "Sequence", "normalizers": []}},
"pre_tokenizer": {{"type": "Sequence", "pretokenizers": [{{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}}]}},
"post_processor": {{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}},
"decoder": {{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}},
"model": {{"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": {{{}}}, "merges": []}}}})",
      entries, vocab);
}

}  // namespace hadal::testing

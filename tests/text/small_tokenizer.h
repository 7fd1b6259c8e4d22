#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "text/byte_characters.h"

namespace hadal::text {

/// A tokenizer.json with the 256 bytes as ids 0..255 (id = byte) and nothing else: a start for small vocabularies.
inline nlohmann::json byte_tokenizer() {
  using nlohmann::json;
  json vocab = json::object();
  const ByteCharacters table;
  for (char32_t character = 0x21; character < ByteCharacters::kEnd; ++character) {
    std::string token;
    append_utf8(character, token);
    if (const auto bytes = table.bytes(token)) vocab[token] = static_cast<unsigned char>(bytes->front());
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"}, {"pattern", {{"Regex", " ?[^ ]+| +"}}}, {"behavior", "Isolated"}, {"invert", false}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}}}}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"vocab", vocab},
            {"merges", json::array()}}}};
}

/// An entry of `added_tokens`.
inline nlohmann::json added_token(int id, const std::string& content, bool normalized = false, bool special = true) {
  return {{"id", id},        {"content", content},       {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", normalized}, {"special", special}};
}

}  // namespace hadal::text

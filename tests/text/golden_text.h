#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace hadal::text {

/// Folder of the golden text files.
inline std::filesystem::path golden_text() { return std::filesystem::path(HADAL_SOURCE_DIR) / "tests/golden/text"; }

/// The lines of one of them.
inline std::vector<nlohmann::json> golden_lines(const char* name) {
  std::ifstream file(golden_text() / name);
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

/// The V4 tokenizer, loaded once a process.
inline const Tokenizer& v4_tokenizer() {
  static const Result<Tokenizer> tokenizer = Tokenizer::load(golden_text() / "tokenizer.json.zst");
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  return *tokenizer;
}

}  // namespace hadal::text

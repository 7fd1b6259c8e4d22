#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace hadal::text {

/// One line of a golden file: the text for the code under test, and nlohmann's reading of it for the expectation.
struct GoldenLine {
  std::string text;
  nlohmann::json json;
};

/// Lines of tests/golden/text/<name>. Empty when the file is missing, which the tests treat as a failure.
inline std::vector<GoldenLine> raw_golden_lines(const std::string& name) {
  std::ifstream file(std::string(HADAL_SOURCE_DIR) + "/tests/golden/text/" + name);
  std::vector<GoldenLine> lines;
  for (std::string line; std::getline(file, line);) lines.push_back({line, nlohmann::json::parse(line)});
  return lines;
}

}  // namespace hadal::text

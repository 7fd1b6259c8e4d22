#pragma once

#include <map>
#include <sstream>
#include <string>

namespace hadal::server {

/// Value of each sample of a text of metrics, by its name and labels without `engine` and `model_name`, which all have.
inline std::map<std::string, double> metric_samples(const std::string& text) {
  std::map<std::string, double> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('#')) continue;
    const std::size_t space = line.rfind(' ');
    std::string name = line.substr(0, space);
    for (const std::string label : {"engine=\"", "model_name=\""}) {
      const std::size_t at = name.find(label);
      if (at == std::string::npos) continue;
      std::size_t end = name.find('"', at + label.size()) + 1;
      if (name[end] == ',') ++end;
      name.erase(at, end - at);
    }
    if (name.ends_with("{}")) name.resize(name.size() - 2);
    if (name.ends_with(",}")) name.replace(name.size() - 2, 2, "}");
    out[name] = std::stod(line.substr(space + 1));
  }
  return out;
}

}  // namespace hadal::server

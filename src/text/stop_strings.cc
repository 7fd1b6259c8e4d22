#include "text/stop_strings.h"

#include <algorithm>

namespace hadal::text {

bool StopStrings::push(std::string_view piece, std::string& out) {
  if (stops_.empty()) {
    out += piece;
    return false;
  }
  held_ += piece;
  std::size_t match_begin = 0;
  std::size_t match_end = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t begin = held_.find(stop);
    if (begin == std::string::npos) continue;
    const std::size_t end = begin + stop.size();
    if (end < match_end || (end == match_end && begin < match_begin)) {
      match_begin = begin;
      match_end = end;
    }
  }
  if (match_end != std::string::npos) {
    out.append(held_, 0, match_begin);
    match_ = held_.substr(match_begin, match_end - match_begin);
    held_.clear();
    return true;
  }
  std::size_t held = 0;  // length of the longest suffix that begins a stop string
  for (const std::string& stop : stops_) {
    for (std::size_t size = std::min(stop.size() - 1, held_.size()); size > held; --size) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, size))) held = size;
    }
  }
  out.append(held_, 0, held_.size() - held);
  held_.erase(0, held_.size() - held);
  return false;
}

void StopStrings::finish(std::string& out) {
  out += held_;
  held_.clear();
}

}  // namespace hadal::text

// Any bytes as the requests of one connection: however they are cut, the reader lets the same requests through, and
// what it lets through keeps its promises. Which of two faults it names, and whether it waits for some bytes more
// before it does, may depend on the cut.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "server/http_reader.h"

namespace {

using hadal::server::HttpReader;

void require(bool condition, std::source_location at = std::source_location::current()) {
  if (!condition)
    hadal::check_failed(at.file_name(), static_cast<int>(at.line()), "require", "the law above does not hold");
}

/// Small limits, so that short inputs reach them.
constexpr hadal::server::HttpLimits kLimits = {
    .request_line = 64, .header = 64, .headers = 256, .header_count = 6, .body = 48, .chunk_extension = 8};

/// A request that was let through.
struct Seen {
  std::string method{}, path{}, body{};

  [[nodiscard]] bool operator==(const Seen&) const = default;
};

/// All whole requests at the front of `bytes`, up to the first refusal; `step` bytes come at a time.
std::vector<Seen> read(std::string_view bytes, std::size_t step) {
  std::vector<Seen> seen;
  std::string input;
  auto reader = std::make_unique<HttpReader>(kLimits);
  bool in_body = false;
  while (true) {
    const auto result = in_body ? reader->read_body(input) : reader->read_head(input);
    if (result == HttpReader::Step::kProblem) {
      require(reader->problem().status >= 400 && !reader->problem().message.empty());
      return seen;
    }
    if (result == HttpReader::Step::kDone && !in_body) {
      const auto& head = reader->head();
      require(!head.chunked || !head.content_length);
      require(head.headers.size() <= kLimits.header_count);
      // The server refuses a declared size before it reads the body.
      if (head.content_length.value_or(0) > kLimits.body) return seen;
      in_body = true;
      continue;
    }
    if (result == HttpReader::Step::kDone) {
      require(static_cast<std::int64_t>(reader->body().size()) <= kLimits.body);
      seen.push_back({reader->head().method, reader->head().path, reader->body()});
      reader = std::make_unique<HttpReader>(kLimits);
      in_body = false;
      continue;
    }
    if (bytes.empty()) return seen;
    input += bytes.substr(0, step);
    bytes.remove_prefix(std::min(step, bytes.size()));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(data, data + size);
  const std::vector<Seen> by_byte = read(bytes, 1);
  require(by_byte == read(bytes, 7));
  return 0;
}

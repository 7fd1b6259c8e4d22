#include "engine/draft_schedule.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "base/check.h"

namespace hadal::engine {

std::int64_t confident_length(std::span<const double> confidence, double threshold) {
  const auto first = std::find_if(confidence.begin(), confidence.end(), [&](double c) { return c < threshold; });
  return first - confidence.begin();
}

void scheduled_lengths(std::span<const double> confidence, std::int64_t block_size, const StepsPerSecond& speed,
                       std::span<std::int64_t> lengths) {
  const auto requests = static_cast<std::int64_t>(lengths.size());
  HADAL_CHECK(static_cast<std::int64_t>(confidence.size()) == requests * block_size,
              "one confidence for each request and position");
  std::fill(lengths.begin(), lengths.end(), 0);
  if (requests == 0) return;

  struct Candidate {
    double survival;
    std::int64_t request;
    std::int64_t length;
  };
  std::vector<Candidate> candidates;
  for (std::int64_t request = 0; request < requests; ++request) {
    double survival = 1;
    for (std::int64_t position = 0; position < block_size; ++position) {
      survival *= confidence[static_cast<std::size_t>(request * block_size + position)];
      candidates.push_back({survival, request, position + 1});
    }
  }
  // Between equals the earlier request and then the earlier position goes first.
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tuple(-a.survival, a.request, a.length) < std::tuple(-b.survival, b.request, b.length);
  });

  std::int64_t tokens = requests;
  auto expected = static_cast<double>(requests);
  double best = expected * speed(tokens);
  for (const Candidate& candidate : candidates) {
    expected += candidate.survival;
    const double throughput = expected * speed(++tokens);
    if (!(throughput > best)) return;
    best = throughput;
    lengths[static_cast<std::size_t>(candidate.request)] = candidate.length;
  }
}

}  // namespace hadal::engine

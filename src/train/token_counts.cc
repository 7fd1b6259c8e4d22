#include "train/token_counts.h"

#include <cmath>

namespace hadal::train {

Result<std::vector<std::int64_t>> token_counts(const DataLoader& loader) {
  constexpr double kTotal = 1e9;
  std::vector<std::int64_t> counts(static_cast<std::size_t>(loader.vocab_size()));
  std::vector<std::int64_t> of_set(counts.size());
  std::vector<std::int32_t> tokens;
  for (std::size_t source = 0; source < loader.sets().size(); ++source) {
    const TokenSet& set = loader.sets()[source];
    const double weight = kTotal * loader.state().sources[source].share / static_cast<double>(set.tokens());
    if (weight == 0) continue;
    of_set.assign(of_set.size(), 0);
    for (std::int64_t document = 0; document < set.documents(); ++document) {
      tokens.resize(static_cast<std::size_t>(set.length(document)));
      HADAL_TRY(set.read(document, 0, tokens));
      for (const std::int32_t token : tokens) ++of_set[static_cast<std::size_t>(token)];
    }
    for (std::size_t token = 0; token < counts.size(); ++token) {
      counts[token] += std::llround(weight * static_cast<double>(of_set[token]));
    }
  }
  return counts;
}

}  // namespace hadal::train

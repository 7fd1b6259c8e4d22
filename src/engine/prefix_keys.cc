#include "engine/prefix_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>

namespace hadal::engine {
namespace {

struct Root {
  Hash128 model;
  PrefixDomain domain;
};

struct Link {
  Hash128 before;
  std::array<std::int64_t, ops::kPageTokens> ids;
};

Hash128 next_key(const Hash128& before, std::span<const std::int64_t> ids) {
  Link link{.before = before, .ids = {}};
  std::copy(ids.begin(), ids.end(), link.ids.begin());
  return hash128(std::as_bytes(std::span(&link, 1)).first(sizeof(Hash128) + ids.size_bytes()));
}

void describe(std::string& text, const model::StatePart& part) {
  fmt::format_to(std::back_inserter(text), "{},{},{},{};", part.offset, part.rows, part.columns,
                 static_cast<int>(part.type));
}

}  // namespace

Hash128 prefix_model_key(std::string_view fingerprint, const model::Executor& executor) {
  const model::StateLayout& layout = executor.pool().layout();
  const model::Model& model = executor.model();
  std::string text =
      fmt::format("{}\n{}\n{}\n{}\ndrafter {} of {} stages, {}\n{} {} {}\n", fingerprint, model.backend().name(),
                  model.backend().instruction_set(), model.profile().name, static_cast<int>(model.drafter().kind),
                  model.drafter().stages, executor.draft_length() > 0 ? "drafting" : "not drafting", layout.slot_bytes,
                  layout.page_bytes, layout.roll_back_tokens);
  for (const auto* layers : {&layout.layers, &layout.drafter_layers}) {
    for (const model::LayerState& layer : *layers) {
      for (const model::StatePart& part : {layer.window, layer.value, layer.gate, layer.index_value, layer.index_gate,
                                           layer.entries, layer.index_entries}) {
        describe(text, part);
      }
    }
    text += '\n';
  }
  describe(text, layout.last_streams);
  return hash128(std::as_bytes(std::span(text)));
}

PrefixKeys::PrefixKeys(const Hash128& model, const PrefixDomain& domain, std::span<const std::int64_t> tokens)
    : tokens_(tokens) {
  const Root root{.model = model, .domain = domain};
  chain_.reserve(tokens.size() / ops::kPageTokens + 1);
  chain_.push_back(hash128(std::as_bytes(std::span(&root, 1))));
  while (tokens.size() >= ops::kPageTokens) {
    chain_.push_back(next_key(chain_.back(), tokens.first(ops::kPageTokens)));
    tokens = tokens.subspan(ops::kPageTokens);
  }
}

Hash128 PrefixKeys::entry(std::int64_t length) const {
  const std::int64_t page = length / ops::kPageTokens;
  const std::int64_t beyond = length % ops::kPageTokens;
  if (beyond == 0) return node(page);
  return next_key(node(page),
                  tokens_.subspan(static_cast<std::size_t>(page * ops::kPageTokens), static_cast<std::size_t>(beyond)));
}

}  // namespace hadal::engine

#include "engine/json_constraint.h"

#include <algorithm>

namespace hadal::engine {

bool JsonConstraint::begin_with(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [this](char byte) { return state_.advance(static_cast<std::uint8_t>(byte)); });
}

void JsonConstraint::limit(ChoiceLimits& limits) {
  limits.allowed = masks_.get(state_, tokens_->vocab_size(), [this](std::span<std::uint64_t> mask) {
    tokens_->allow(state_, [](JsonObjectState& state, std::uint8_t byte) { return state.advance(byte); }, mask);
  });
}

bool JsonConstraint::push(std::int64_t token) {
  return !tokens_->is_added(token) && !tokens_->bytes(token).empty() && begin_with(tokens_->bytes(token));
}

}  // namespace hadal::engine

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/models.h"
#include "engine/service.h"
#include "engine/sorted_tokens.h"
#include "server/answer_script.h"
#include "text/tokenizer.h"

namespace hadal::server {

/// Ids of the markers that answers are read by; none where the tokenizer has no such token.
struct MarkerTokens {
  std::optional<std::int64_t> think{}, think_end{}, dsml{};

  [[nodiscard]] static MarkerTokens of(const text::Tokenizer& tokenizer);
};

/// One model with all that answers need of it. Immutable; outlives the requests.
struct ServedEngine {
  const api::ServedModel* model = nullptr;
  const text::Tokenizer* tokenizer = nullptr;
  engine::Service* service = nullptr;
  MarkerTokens markers{};
  std::vector<std::int64_t> stop_tokens{};                      // end of sentence
  std::shared_ptr<const engine::SortedTokens> sorted_tokens{};  // to hold answers to a form
  std::string fingerprint{};                                    // "fp_..." of answers
  engine::DraftMode drafts = engine::DraftMode::kAuto;
  std::shared_ptr<AnswerScript> script{};  // null: the model answers
};

}  // namespace hadal::server

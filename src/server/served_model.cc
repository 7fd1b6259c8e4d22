#include "server/served_model.h"

#include "text/chat_markers.h"

namespace hadal::server {

MarkerTokens MarkerTokens::of(const text::Tokenizer& tokenizer) {
  return {.think = tokenizer.added_token_id(text::marker::kThink),
          .think_end = tokenizer.added_token_id(text::marker::kThinkEnd),
          .dsml = tokenizer.added_token_id(text::marker::kDsml)};
}

}  // namespace hadal::server

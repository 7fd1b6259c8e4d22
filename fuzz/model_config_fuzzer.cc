#include <cstddef>
#include <cstdint>
#include <string>

#include "base/check.h"
#include "formats/model_config.h"

/// config.json: any text is read or refused with a reason; what is read keeps the bounds that the model relies on.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(data, data + size);
  const auto config = hadal::formats::parse_model_config(text, "config.json");
  if (!config) {
    HADAL_CHECK(!config.error().message.empty(), "an error has a message");
    return 0;
  }
  HADAL_CHECK(config->vocab_size > 0 && config->hidden_size > 0, "a model has tokens and channels");
  HADAL_CHECK(config->head_dim >= config->qk_rope_head_dim, "the rotated channels are part of a head");
  HADAL_CHECK(config->num_experts_per_tok <= config->n_routed_experts, "no more experts are chosen than there are");
  HADAL_CHECK(static_cast<std::int64_t>(config->compress_ratios.size()) >= config->num_hidden_layers,
              "every layer has a ratio");
  const std::string written = hadal::formats::model_config_json(*config, true);
  const auto again = hadal::formats::parse_model_config(written, "again");
  HADAL_CHECK(again && hadal::formats::model_config_json(*again, true) == written, "what is written is read");
  return 0;
}

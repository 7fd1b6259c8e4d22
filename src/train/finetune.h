#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace hadal::train {

/// What `hadal finetune` is asked to do: supervised tuning of all weights on conversations.
struct FinetuneOptions {
  std::string name;                                 // of the run
  std::filesystem::path model;                      // checkpoint directory with a tokenizer
  std::vector<std::filesystem::path> sets;          // prepared sets of conversations and of plain text
  std::vector<std::filesystem::path> validation{};  // prepared sets
  double epochs = 3;                                // passes over the conversations
  double plain_share = 0.25;                        // of all tokens, when there is plain text
  double learning_rate = 2e-4;
  std::int64_t sequence = 2048;  // tokens of a row
  std::int64_t batch = 16384;    // tokens of a step
  std::int64_t micro_batch = 8192;
  std::uint64_t seed = 0;
  bool quantized = true;  // train with the values of the FP8 and FP4 codes
};

/// The configuration of that run as TOML, for `read_train_config`: loss on the answers only, plain text beside it, a
/// short warm-up and a linear fall to 0, fixed balance biases (spec: fine-tuning). Rows and steps are rounded up to
/// what the configuration asks for. Errors: those of TokenSet::open; kInvalidArgument (no set of conversations; values
/// out of range).
[[nodiscard]] Result<std::string> finetune_config(const FinetuneOptions& options);

}  // namespace hadal::train

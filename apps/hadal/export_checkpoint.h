#pragma once

#include <string>

#include "base/result.h"

namespace hadal::apps {

struct ExportOptions {
  std::string checkpoint;  // a .ckpt file of training, or a checkpoint directory
  std::string out;         // directory to make
  std::string format = "fp8+fp4";
  std::string tokenizer;  // tokenizer.json or its folder; empty: the checkpoint's
  bool report = false;    // the error of every tensor
};

/// Writes a trained model as a checkpoint directory, with progress on the terminal. Returns what to tell the user.
/// Errors: those of the parts.
[[nodiscard]] Result<std::string> export_checkpoint(const ExportOptions& options);

}  // namespace hadal::apps

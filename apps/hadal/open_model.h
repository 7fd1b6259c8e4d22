#pragma once

#include "load_model.h"

namespace hadal::apps {

// The two steps of load_model, for commands that do something in between.

/// Makes the backend, opens and checks the checkpoint: quick. Logs warnings. Errors: those of the parts.
[[nodiscard]] Result<LoadedModel> open_model(const ModelFlags& flags);

/// Loads the weights and the tokenizer of an open model; may take minutes. Logs warnings. Errors: those of the parts.
[[nodiscard]] Status load_weights(const ModelFlags& flags, LoadedModel& loaded);

}  // namespace hadal::apps

#include "prepare_run.h"

#include <optional>
#include <stop_token>
#include <string_view>
#include <utility>

#include "interrupt.h"
#include "progress.h"

namespace hadal::apps {

Result<train::PrepareReport> run_preparation(train::PrepareOptions options) {
  Interrupt interrupt;
  const std::stop_token stop = interrupt.begin();
  std::optional<ProgressBar> bar;
  std::string_view shown;
  options.progress = [&](std::string_view stage, std::int64_t done, std::int64_t total) {
    if (stage != shown) {
      bar.emplace(stage, stage == "training" ? "merges" : "bytes");
      shown = stage;
    }
    bar->update(done, total);
    return !stop.stop_requested();
  };
  return train::prepare_data(options);
}

}  // namespace hadal::apps

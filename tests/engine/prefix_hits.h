#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "engine/rig.h"
#include "engine/service.h"

namespace hadal::testing {

/// A prompt that has a beginning in common with those before it.
struct SharedPrompt {
  std::int64_t shared = 0;  // tokens
  std::int64_t size = 0;
  std::int64_t cached = 0;  // tokens that are expected from the cache
};

/// One kind of kept state, and prompts that find it: that, and nothing deeper.
struct HitCase {
  std::string name;
  engine::ServiceOptions options{};
  std::vector<std::int64_t> marks{};
  std::vector<SharedPrompt> prompts{};  // of one long text; empty: the turns of a conversation
  std::size_t teaching = 0;             // the first so many prompts teach what no file holds
  // Of a conversation: each turn's prompt is the one before, its answer, and what the user adds.
  std::int64_t first_prompt = 0, answer = 8, added = 0;
  std::vector<std::int64_t> cached{};  // expected in each turn
};

/// Every kind of kept state, each found in three turns; the states within a long prefill stand every `every` tokens.
[[nodiscard]] std::vector<HitCase> hit_cases(std::int64_t every);

/// Cases with what keeps their states switched off, and what they then find.
[[nodiscard]] std::vector<HitCase> cases_without_their_kind();

/// Asks services that cache and services that do not.
class HitBench {
 public:
  /// Checkpoints: "tiny-base" (no drafter), "tiny-dspark", "tiny-mtp" (of random weights).
  HitBench(const std::string& checkpoint, std::int64_t context);
  HitBench(const HitBench&) = delete;
  HitBench& operator=(const HitBench&) = delete;

  /// Runs a case with steps of at most `chunk` tokens. Every prompt is asked twice, with two seeds, and each answer
  /// expected to be that of a fresh service without a cache. `on_disk`: the service ends after every answer and begins
  /// again with nothing but the files, from the case's `teaching` on; else it is one service throughout.
  void run(const HitCase& given, std::int64_t chunk, bool on_disk);

  [[nodiscard]] std::int64_t hits_from_memory() const { return hits_from_memory_; }
  [[nodiscard]] std::int64_t hits_from_disk() const { return hits_from_disk_; }

 private:
  struct Answer {
    std::vector<std::int64_t> tokens;
    std::vector<double> logprobs;
  };
  struct Served;

  [[nodiscard]] std::vector<std::int64_t> text(std::uint32_t seed, std::int64_t size) const;
  [[nodiscard]] const Answer& fresh(const engine::ServiceRequest& request);
  /// The answer, after a comparison with the fresh one.
  [[nodiscard]] std::vector<std::int64_t> ask(Served& served, engine::ServiceRequest request, std::int64_t cached);
  /// Asks with two seeds; the first answer.
  [[nodiscard]] std::vector<std::int64_t> ask_twice(Served& served, const engine::ServiceRequest& request,
                                                    std::int64_t cached);

  std::filesystem::path directory_;
  std::int64_t context_ = 0;
  std::shared_ptr<void> temporary_;  // holds a checkpoint that was made for this
  std::unique_ptr<Rig> plain_;       // of the services without a cache
  std::map<std::tuple<std::vector<std::int64_t>, std::uint64_t, std::int64_t>, Answer> answers_;
  std::int64_t hits_from_memory_ = 0, hits_from_disk_ = 0;
};

}  // namespace hadal::testing

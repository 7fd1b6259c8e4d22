#include "generation_flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "formats/generation_config.h"
#include "model/state_layout.h"

namespace hadal::apps {

void add_generation_flags(CLI::App& command, GenerationFlags& flags) {
  engine::SamplingOptions& sampling = flags.options.sampling;
  flags.temperature =
      command.add_option("--temperature", sampling.temperature, "0 takes the best token; above it tokens are drawn")
          ->capture_default_str();
  flags.top_p =
      command.add_option("--top-p", sampling.top_p, "Draw among the fewest tokens with this share of the probability")
          ->capture_default_str();
  flags.top_k =
      command.add_option("--top-k", sampling.top_k, "Draw among this many best tokens; 0: all")->capture_default_str();
  command.add_option("--min-p", sampling.min_p, "Draw among tokens with this share of the best one's probability")
      ->capture_default_str();
  command.add_option("--repetition-penalty", sampling.repetition_penalty, "Divides logits of tokens already there")
      ->capture_default_str();
  command.add_option("--presence-penalty", sampling.presence_penalty, "Taken from logits of tokens of the answer")
      ->capture_default_str();
  command
      .add_option("--frequency-penalty", sampling.frequency_penalty, "The same, for each time that the token occurred")
      ->capture_default_str();
  command.add_option("--seed", sampling.seed, "Equal seeds give equal answers")->capture_default_str();
  command.add_option("--max-tokens", flags.options.max_tokens, "Most tokens of an answer")->capture_default_str();
  command.add_option("--stop", flags.options.stop_strings, "End the answer before this text; may be repeated")
      ->allow_extra_args(false);
  command
      .add_option("--draft", flags.drafts, "Draft tokens ahead: off, on, auto (where it pays); never changes the text")
      ->capture_default_str();
  command.add_option("--max-drafts", flags.max_drafts, "Most drafts of a round with an MTP layer")
      ->check(CLI::Range(std::int64_t{1}, model::kRollBackTokens))
      ->capture_default_str();
  command
      .add_option("--draft-confidence", flags.options.draft_confidence,
                  "DSpark: do not verify drafts that are less sure than this probability")
      ->capture_default_str();
}

Result<engine::GenerationOptions> generation_options(const GenerationFlags& flags) {
  engine::GenerationOptions options = flags.options;
  HADAL_ASSIGN(options.drafts, engine::draft_mode(flags.drafts));
  HADAL_TRY(engine::check(options.sampling));
  return options;
}

Result<engine::GenerationOptions> generation_options(const GenerationFlags& flags,
                                                     const std::filesystem::path& checkpoint) {
  HADAL_ASSIGN(const formats::GenerationConfig advice, formats::read_generation_config(checkpoint));
  GenerationFlags chosen = flags;
  engine::SamplingOptions& sampling = chosen.options.sampling;
  if (flags.temperature->count() == 0) sampling.temperature = advice.temperature.value_or(1);
  if (flags.top_p->count() == 0) sampling.top_p = advice.top_p.value_or(sampling.top_p);
  if (flags.top_k->count() == 0) sampling.top_k = advice.top_k.value_or(sampling.top_k);
  return generation_options(chosen);
}

std::string summary(const engine::GenerationStatistics& statistics) {
  std::string text =
      fmt::format("prefill {} tokens, {:.1f} tokens/s; answer {} tokens, {:.1f} tokens/s", statistics.prompt_tokens,
                  statistics.prefill_speed(), statistics.answer_tokens, statistics.decode_speed());
  if (statistics.drafted > 0) {
    text += fmt::format("; {} of {} drafts accepted in {} rounds", statistics.accepted, statistics.drafted,
                        statistics.rounds);
  }
  return text;
}

nlohmann::ordered_json to_json(const engine::GenerationStatistics& statistics) {
  return {{"prompt_tokens_fed", statistics.prompt_tokens},
          {"prefill_seconds", statistics.prefill_seconds},
          {"prefill_tokens_per_second", statistics.prefill_speed()},
          {"answer_tokens", statistics.answer_tokens},
          {"decode_seconds", statistics.decode_seconds},
          {"decode_tokens_per_second", statistics.decode_speed()},
          {"plain_steps", statistics.plain_steps},
          {"draft_rounds", statistics.rounds},
          {"drafted", statistics.drafted},
          {"accepted", statistics.accepted},
          {"rounds_by_drafted", statistics.rounds_by_drafted},
          {"rounds_by_accepted", statistics.rounds_by_accepted}};
}

}  // namespace hadal::apps

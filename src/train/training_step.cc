#include "train/training_step.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "model/block.h"
#include "model/drafter.h"
#include "ops/embedding.h"
#include "ops/previous_rows.h"
#include "tensor/arena.h"
#include "train/drafter_backward.h"
#include "train/loss_head.h"

namespace hadal::train {
namespace {

std::int64_t pages_of(std::int64_t tokens) { return (tokens + ops::kPageTokens - 1) / ops::kPageTokens; }

HeadWeights head_of(const model::ModelWeights& weights) {
  return {.hc_head = weights.hc_head, .norm = weights.norm, .head = weights.head};
}

HeadWeights head_of(const model::DrafterWeights& weights) {
  return {.hc_head = weights.hc_head, .norm = weights.norm, .head = weights.head};
}

double reciprocal(std::int64_t count) { return count == 0 ? 0.0 : 1.0 / static_cast<double>(count); }

}  // namespace

BatchCounts& BatchCounts::operator+=(const BatchCounts& other) {
  loss_tokens += other.loss_tokens;
  mtp_tokens += other.mtp_tokens;
  indexer_rows += other.indexer_rows;
  sequences += other.sequences;
  return *this;
}

BatchCounts count(std::span<const TrainingSequence> sequences) {
  BatchCounts counts;
  for (const TrainingSequence& sequence : sequences) {
    const auto length = static_cast<std::int64_t>(sequence.tokens.size());
    for (std::int64_t t = 0; t + 1 < length; ++t) {
      const bool counted = sequence.loss_mask[static_cast<std::size_t>(t)] != 0;
      counts.loss_tokens += counted;
      counts.mtp_tokens += counted && t >= 1;
    }
    counts.indexer_rows += std::max<std::int64_t>(0, length - 3);
    ++counts.sequences;
  }
  return counts;
}

StepLosses& StepLosses::operator+=(const StepLosses& other) {
  counts += other.counts;
  next_token += other.next_token;
  mtp += other.mtp;
  indexer += other.indexer;
  captured += other.captured;
  balance += other.balance;
  expert_load.resize(std::max(expert_load.size(), other.expert_load.size()));
  for (std::size_t layer = 0; layer < other.expert_load.size(); ++layer) {
    expert_load[layer].resize(other.expert_load[layer].size());
    for (std::size_t expert = 0; expert < other.expert_load[layer].size(); ++expert) {
      expert_load[layer][expert] += other.expert_load[layer][expert];
    }
  }
  return *this;
}

TrainingStep::TrainingStep(const model::Model& model, const model::ModelWeights& gradients, const Limits& limits,
                           Recompute recompute)
    : model_(model),
      gradients_(gradients),
      limits_(limits),
      recompute_(recompute),
      stream_(model.backend().create_stream()) {}

Result<std::unique_ptr<TrainingStep>> TrainingStep::create(const model::Model& model,
                                                           const model::ModelWeights& gradients, const Limits& limits,
                                                           Recompute recompute) {
  if (limits.rows < 1 || limits.sequences < 1 || limits.max_tokens < 1) {
    return fail(ErrorCode::kInvalidArgument, "a training step needs room for at least one sequence of one token");
  }
  if (model.drafter().kind == formats::DrafterKind::kDSpark) {
    return fail(ErrorCode::kUnsupported, "a DSpark drafter cannot be trained; train the model without it, or with MTP");
  }
  if (model.profile().quantize_linear_inputs) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("numerics profile {} quantises the inputs of products; train with another one",
                            model.profile().name));
  }
  std::unique_ptr<TrainingStep> step(new TrainingStep(model, gradients, limits, recompute));
  HADAL_TRY(step->plan_and_allocate());
  return step;
}

Status TrainingStep::plan_and_allocate() {
  ops::Backend& backend = model_.backend();
  const std::int64_t T = limits_.rows;
  const std::int64_t S = limits_.sequences;
  // Every part may leave its last page unfinished.
  HADAL_ASSIGN(pool_, model::StatePool::create(backend, model_.state_layout(), S, pages_of(T) + S));
  const ops::StepTableBuilder::Limits tables{
      .rows = T, .sequences = S, .logits_rows = 0, .pages = pages_of(limits_.max_tokens)};
  const std::int64_t table_bytes = ops::StepTableBuilder::bytes(tables);
  HADAL_ASSIGN(tables_memory_, backend.allocate(2 * table_bytes + 2 * aligned(4 * S) + 2 * aligned(4 * T)));
  std::byte* address = tables_memory_.data();
  const auto take = [&](std::int64_t bytes) { return std::exchange(address, address + aligned(bytes)); };
  main_builder_.emplace(tables, take(table_bytes));
  shifted_builder_.emplace(tables, take(table_bytes));
  first_blocks_ = {.first_block4 = TensorView(take(4 * S), DType::kI32, {S}),
                   .first_block128 = TensorView(take(4 * S), DType::kI32, {S})};
  backward_tables_ = first_blocks_;
  targets_ = TensorView(take(4 * T), DType::kI32, {T});
  mtp_targets_ = TensorView(take(4 * T), DType::kI32, {T});
  host_.resize(static_cast<std::size_t>(2 * S + 2 * T));
  kept_.resize(static_cast<std::size_t>(model_.config().num_hidden_layers) +
               (model_.drafter().kind == formats::DrafterKind::kMtp ? 1 : 0));

  ops::StepPlan plan;
  stream_->set_plan(&plan);
  tables_ = main_builder_->plan(tables);
  shifted_tables_ = shifted_builder_->plan(tables);
  for (const bool attend_all_entries : {false, true}) {
    HADAL_TRY(enqueue({.backward = true,
                       .attend_all_entries = attend_all_entries,
                       .drafter = model_.drafter().kind == formats::DrafterKind::kMtp}));
  }
  stream_->set_plan(nullptr);
  if (!plan.unsupported.empty()) {
    std::string message =
        fmt::format("backend {} cannot train this model with numerics {}:", backend.name(), model_.profile().name);
    for (const std::string& line : plan.unsupported) message += "\n  " + line;
    return fail(ErrorCode::kUnimplemented, std::move(message));
  }
  HADAL_ASSIGN(arena_memory_, backend.allocate(arena_.peak()));
  HADAL_ASSIGN(scratch_memory_, backend.allocate(plan.scratch_bytes));
  arena_ = Arena(arena_memory_.data(), arena_memory_.bytes());
  stream_->set_scratch(scratch_memory_.data(), scratch_memory_.bytes());
  return {};
}

std::int64_t TrainingStep::bytes() const {
  const model::StateLayout& layout = pool_->layout();
  return arena_memory_.bytes() + scratch_memory_.bytes() + tables_memory_.bytes() +
         limits_.sequences * layout.slot_bytes + pool_->max_pages() * layout.page_bytes;
}

Status TrainingStep::check(std::span<const TrainingSequence> sequences) const {
  std::int64_t rows = 0;
  for (const TrainingSequence& sequence : sequences) {
    const auto length = static_cast<std::int64_t>(sequence.tokens.size());
    if (length == 0 || sequence.loss_mask.size() != sequence.tokens.size()) {
      return fail(ErrorCode::kInvalidArgument, "a training sequence needs tokens, and a mask of the same length");
    }
    if (length > limits_.max_tokens) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("a training sequence of {} tokens is longer than the {} "
                                                           "that memory was planned for",
                                                           length, limits_.max_tokens));
    }
    rows += length;
    const auto wrong = std::find_if(sequence.tokens.begin(), sequence.tokens.end(), [&](std::int32_t token) {
      return token < 0 || token >= model_.config().vocab_size;
    });
    if (wrong != sequence.tokens.end()) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("token id {} is outside the vocabulary of {}; the data was "
                                                           "prepared with another tokenizer",
                                                           *wrong, model_.config().vocab_size));
    }
  }
  if (rows == 0 || rows > limits_.rows || static_cast<std::int64_t>(sequences.size()) > limits_.sequences) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a micro-batch of {} tokens in {} sequences was given; planned were at most {} and {}",
                            rows, sequences.size(), limits_.rows, limits_.sequences));
  }
  return {};
}

Result<StepLosses> TrainingStep::run(std::span<const TrainingSequence> sequences, const BatchCounts& batch,
                                     const Objective& objective) {
  const bool drafter = objective.mtp_weight != 0 && model_.drafter().kind == formats::DrafterKind::kMtp;
  return pass(sequences, {.next_token = reciprocal(batch.loss_tokens),
                          .mtp = objective.mtp_weight * reciprocal(batch.mtp_tokens),
                          .layer = {.indexer = objective.indexer_weight * reciprocal(batch.indexer_rows),
                                    .balance = objective.balance_alpha * reciprocal(batch.sequences)},
                          .backward = true,
                          .attend_all_entries = objective.attend_all_entries,
                          .drafter = drafter});
}

Result<StepLosses> TrainingStep::evaluate(std::span<const TrainingSequence> sequences, const Objective& objective,
                                          const model::ActivationTap* tap) {
  return pass(sequences, {.attend_all_entries = objective.attend_all_entries,
                          .drafter = objective.mtp_weight != 0 && model_.drafter().kind == formats::DrafterKind::kMtp,
                          .tap = tap});
}

Result<StepLosses> TrainingStep::pass(std::span<const TrainingSequence> sequences, const Weights& weights) {
  HADAL_TRY(check(sequences));
  HADAL_TRY(build_tables(sequences));
  HADAL_TRY(enqueue(weights));
  auto losses = collect(count(sequences), weights);
  states_.clear();
  return losses;
}

Status TrainingStep::build_tables(std::span<const TrainingSequence> sequences) {
  std::vector<ops::RowRange> ranges;
  std::vector<std::int64_t> tokens;
  states_.clear();
  states_.reserve(sequences.size());
  const auto S = static_cast<std::int64_t>(sequences.size());
  std::int32_t* const first4 = host_.data();
  std::int32_t* const first128 = first4 + S;
  std::int32_t* const targets = first128 + S;
  std::int64_t T = 0;
  for (const TrainingSequence& sequence : sequences) T += static_cast<std::int64_t>(sequence.tokens.size());
  std::int32_t* const mtp_targets = targets + T;

  std::int32_t blocks4 = 0;
  std::int32_t blocks128 = 0;
  std::int64_t row = 0;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const TrainingSequence& sequence = sequences[s];
    const auto length = static_cast<std::int64_t>(sequence.tokens.size());
    HADAL_ASSIGN(model::SequenceState state, pool_->new_sequence());
    HADAL_TRY(state.reserve(length));
    states_.push_back(std::move(state));
    ranges.push_back({.slot = states_.back().slot(), .pages = states_.back().pages(), .start = 0, .count = length});
    first4[s] = blocks4;
    first128[s] = blocks128;
    blocks4 += static_cast<std::int32_t>(length / 4);
    blocks128 += static_cast<std::int32_t>(length / 128);
    for (std::int64_t t = 0; t < length; ++t, ++row) {
      const auto index = static_cast<std::size_t>(t);
      const bool counted = t + 1 < length && sequence.loss_mask[index] != 0;
      tokens.push_back(sequence.tokens[index]);
      targets[row] = counted ? sequence.tokens[index + 1] : -1;
      // The MTP row of token t holds the streams of t - 1 and predicts t + 1.
      mtp_targets[row] = t >= 1 ? targets[row] : -1;
    }
  }
  const std::int64_t window = model_.config().sliding_window;
  tables_ = main_builder_->build(*stream_, ranges, tokens, {}, ops::WindowRule::kCausal, window, 0);
  shifted_tables_ = shifted_builder_->build(*stream_, ranges, tokens, {}, ops::WindowRule::kCausal, window, -1);
  backward_tables_ = {.first_block4 = first_blocks_.first_block4.rows(0, S),
                      .first_block128 = first_blocks_.first_block128.rows(0, S)};
  stream_->upload(backward_tables_.first_block4.bytes(), first4, 4 * S);
  stream_->upload(backward_tables_.first_block128.bytes(), first128, 4 * S);
  stream_->upload(targets_.bytes(), targets, 4 * T);
  stream_->upload(mtp_targets_.bytes(), mtp_targets, 4 * T);
  return {};
}

model::Step TrainingStep::make_step(const ops::StepTables& tables, const Weights& weights, bool keep) {
  return {.stream = *stream_,
          .arena = arena_,
          .config = model_.config(),
          .profile = model_.profile(),
          .rope = model_.rope(),
          .pool = *pool_,
          .tables = tables,
          .tap = weights.tap,
          .keep_activations = keep,
          .attend_all_entries = weights.attend_all_entries};
}

TrainingStep::Layer TrainingStep::layer(std::int64_t number) const {
  const model::StateLayout& layout = pool_->layout();
  const auto index = static_cast<std::size_t>(number);
  if (number < model_.config().num_hidden_layers) {
    return {.weights = model_.weights().layers[index],
            .gradients = gradients_.layers[index],
            .state = layout.layers[index],
            .number = number};
  }
  return {.weights = model_.weights().drafter.layers.front(),
          .gradients = gradients_.drafter.layers.front(),
          .state = layout.drafter_layers.front(),
          .number = number};
}

void TrainingStep::allocate_losses(const Layer& layer, Kept& kept) {
  const std::int64_t T = tables_.rows;
  const auto real = [&](Shape shape) { return arena_.allocate(model_.profile().real, shape); };
  kept = {};
  kept.experts = arena_.allocate(DType::kI32, {T, model_.config().num_experts_per_tok});
  kept.losses.balance = real({tables_.sequences});
  if (layer.weights.attention.compress_ratio == 4) {
    kept.losses.indexer = real({T});
    kept.losses.captured = real({T});
  }
}

Status TrainingStep::forward(model::Step& step, const Layer& layer, const Weights& weights, Kept& kept,
                             const TensorView& streams) {
  if (weights.backward && recompute_ == Recompute::kLayer) {
    kept.input = step.real(streams.shape());
    stream_->copy(kept.input.bytes(), streams.bytes(), streams.byte_size());
  }
  const ArenaScope scope = step.scope();
  kept.rows = model::allocate_rows(step, layer.weights.attention.compress_ratio);
  HADAL_ASSIGN(kept.activations, model::block(step, layer.weights, layer.state, layer.number, kept.rows, streams));
  stream_->copy(kept.experts.bytes(), kept.activations.moe.experts.bytes(), kept.experts.byte_size());
  return {};
}

Status TrainingStep::backward(model::Step& step, const Layer& layer, const Weights& weights, Kept& kept,
                              const TensorView& d_streams) {
  const ArenaScope scope(arena_);
  if (recompute_ == Recompute::kLayer) {
    model::Step again = make_step(step.tables, weights, true);
    kept.rows = model::allocate_rows(again, layer.weights.attention.compress_ratio);
    HADAL_ASSIGN(kept.activations,
                 model::block(again, layer.weights, layer.state, layer.number, kept.rows, kept.input));
  }
  Backward backward{.step = step, .tables = backward_tables_, .loss_weights = weights.layer};
  if (layer.number < model_.config().num_hash_layers) backward.loss_weights.balance = 0;  // nothing to balance there
  return block_backward(backward, layer.weights, layer.gradients, layer.state, kept.rows, kept.activations, kept.losses,
                        d_streams);
}

Status TrainingStep::enqueue(const Weights& weights) {
  const auto& config = model_.config();
  arena_.rewind(0);
  const std::int64_t T = tables_.rows;
  const std::int64_t layers = config.num_hidden_layers;
  model::Step step = make_step(tables_, weights, weights.backward && recompute_ == Recompute::kNone);
  for (std::int64_t number = 0; number < layers + (weights.drafter ? 1 : 0); ++number) {
    allocate_losses(layer(number), kept_[static_cast<std::size_t>(number)]);
  }
  loss_ = step.real({T});
  mtp_loss_ = weights.drafter ? step.real({T}) : TensorView();

  const TensorView streams = step.real({T, config.hc_mult, config.hidden_size});
  HADAL_TRY(ops::embedding(*stream_, {.tokens = tables_.tokens, .table = model_.weights().embed, .out = streams}));
  for (std::int64_t number = 0; number < layers; ++number) {
    HADAL_TRY(forward(step, layer(number), weights, kept_[static_cast<std::size_t>(number)], streams));
  }
  model::Step plain = make_step(tables_, weights, false);
  const TensorView d_streams = weights.backward ? plain.real(streams.shape()) : TensorView();
  const HeadWeights head_gradients = head_of(gradients_);
  HADAL_TRY(loss_head(plain, head_of(model_.weights()), weights.backward ? &head_gradients : nullptr, streams,
                      targets_.rows(0, T), weights.next_token, loss_, d_streams));
  if (weights.drafter) HADAL_TRY(enqueue_drafter(weights, streams, d_streams));
  if (!weights.backward) return {};
  for (std::int64_t number = layers - 1; number >= 0; --number) {
    HADAL_TRY(backward(plain, layer(number), weights, kept_[static_cast<std::size_t>(number)], d_streams));
  }
  return ops::embedding_backward(*stream_,
                                 {.tokens = tables_.tokens, .d_out = d_streams, .d_table = gradients_.embed.codes});
}

Status TrainingStep::enqueue_drafter(const Weights& weights, const TensorView& streams, const TensorView& d_streams) {
  const auto& config = model_.config();
  const model::DrafterWeights& drafter = model_.weights().drafter;
  const std::int64_t T = tables_.rows;
  const std::int64_t width = config.hc_mult * config.hidden_size;
  const ArenaScope scope(arena_);
  model::Step step = make_step(shifted_tables_, weights, weights.backward && recompute_ == Recompute::kNone);
  const TensorView before = step.real({T, width});
  HADAL_TRY(ops::previous_rows(*stream_, {.rows = streams.reshaped({T, width}),
                                          .ring = pool_->ring(pool_->layout().last_streams),
                                          .layout = tables_.layout,
                                          .out = before}));
  // Its input is small: kept at every level of recomputation.
  model::Step keeping = make_step(shifted_tables_, weights, weights.backward);
  HADAL_ASSIGN(const model::MtpInput input, model::mtp_input(keeping, drafter, before));
  const Layer mtp = layer(config.num_hidden_layers);
  Kept& kept = kept_[static_cast<std::size_t>(config.num_hidden_layers)];
  HADAL_TRY(forward(step, mtp, weights, kept, input.streams));

  model::Step plain = make_step(shifted_tables_, weights, false);
  const TensorView d_input = weights.backward ? plain.real(input.streams.shape()) : TensorView();
  const HeadWeights head_gradients = head_of(gradients_.drafter);
  HADAL_TRY(loss_head(plain, head_of(drafter), weights.backward ? &head_gradients : nullptr, input.streams,
                      mtp_targets_.rows(0, T), weights.mtp, mtp_loss_, d_input));
  if (!weights.backward) return {};
  HADAL_TRY(backward(plain, mtp, weights, kept, d_input));
  return mtp_input_backward(plain, drafter, gradients_.drafter, tables_.layout, before, input, d_input, d_streams);
}

double TrainingStep::download_sum(const TensorView& values) {
  const auto sum = [&](auto zero) {
    std::vector<decltype(zero)> host(static_cast<std::size_t>(values.elements()));
    stream_->download(host.data(), values.bytes(), values.byte_size());
    stream_->wait();
    double total = 0;
    for (const auto value : host) total += static_cast<double>(value);
    return total;
  };
  return values.type() == DType::kF64 ? sum(0.0) : sum(0.0F);
}

Result<StepLosses> TrainingStep::collect(const BatchCounts& counts, const Weights& weights) {
  StepLosses losses;
  losses.counts = counts;
  losses.next_token = download_sum(loss_);
  if (weights.drafter) losses.mtp = download_sum(mtp_loss_);
  const std::int64_t layers = model_.config().num_hidden_layers + (weights.drafter ? 1 : 0);
  const auto E = static_cast<std::size_t>(model_.config().n_routed_experts);
  for (std::int64_t number = 0; number < layers; ++number) {
    const Kept& kept = kept_[static_cast<std::size_t>(number)];
    if (weights.backward && !kept.losses.indexer.absent()) {
      losses.indexer += download_sum(kept.losses.indexer);
      losses.captured += download_sum(kept.losses.captured);
    }
    if (weights.backward && number >= model_.config().num_hash_layers)
      losses.balance += download_sum(kept.losses.balance);
    std::vector<std::int32_t> experts(static_cast<std::size_t>(kept.experts.elements()));
    stream_->download(experts.data(), kept.experts.bytes(), kept.experts.byte_size());
    stream_->wait();
    std::vector<std::int64_t>& load = losses.expert_load.emplace_back(E);
    for (const std::int32_t expert : experts) ++load[static_cast<std::size_t>(expert)];
  }
  return losses;
}

}  // namespace hadal::train

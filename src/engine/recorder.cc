#include "engine/recorder.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "base/philox.h"
#include "model/executor.h"

namespace hadal::engine {
namespace {

/// Sizes of `shape` with the outermost one replaced.
Shape with_rows(const Shape& shape, std::int64_t rows) {
  switch (shape.rank()) {
    case 1:
      return {rows};
    case 2:
      return {rows, shape[1]};
    default:
      return {rows, shape[1], shape[2]};
  }
}

/// `shape` with one more dimension in front; at most three it may have.
Shape with_outer(std::int64_t outer, const Shape& shape) {
  return shape.rank() == 2 ? Shape{outer, shape[0], shape[1]} : Shape{outer, shape[0], shape[1], shape[2]};
}

std::int64_t row_elements(const Shape& shape) { return shape.elements() / std::max<std::int64_t>(1, shape[0]); }

/// A tensor that the tap has asked for; its bytes are there once the stream was waited for.
struct Download {
  std::string name;
  std::int64_t layer;
  DType type;
  Shape shape;
  std::vector<std::byte> bytes;

  [[nodiscard]] TensorView view() { return {bytes.data(), type, shape}; }
};

class Recorder {
 public:
  Recorder(const model::Model& model, std::span<const std::int64_t> tokens, const RecordOptions& options)
      : model_(model), config_(model.config()), tokens_(tokens), options_(options) {}

  Result<std::unique_ptr<VectorSet>> run();

 private:
  [[nodiscard]] std::int64_t length() const { return static_cast<std::int64_t>(tokens_.size()); }
  [[nodiscard]] bool traces() const { return !options_.trace_positions.empty(); }
  [[nodiscard]] bool mtp() const { return options_.drafter && model_.drafter().kind == formats::DrafterKind::kMtp; }
  [[nodiscard]] bool dspark() const {
    return options_.drafter && model_.drafter().kind == formats::DrafterKind::kDSpark;
  }

  Status prepare();
  Status step(std::int64_t begin, std::int64_t count);
  Status draft(std::size_t context);
  void fill_companions(std::int64_t rows);

  void tap(std::string_view name, std::int64_t layer, const TensorView& view);
  void force_input(std::int64_t layer, const TensorView& view);
  void keep(Download& download);
  void keep_block(Download& download);
  void keep_rows(const std::string& name, Download& download, std::int64_t first_position,
                 const std::vector<std::int64_t>& wanted);
  void keep_all(const std::string& name, Download& download, std::int64_t first_row, const Shape& shape);
  Status keep_logits(const TensorView& logits, const std::string& prefix, const std::vector<std::int64_t>& wanted);
  Result<std::int64_t> argmax_of_last_row();

  const model::Model& model_;
  const formats::ModelConfig& config_;
  std::span<const std::int64_t> tokens_;
  const RecordOptions& options_;

  std::unique_ptr<VectorSet> owned_ = std::make_unique<VectorSet>();
  VectorSet& set_ = *owned_;
  std::unique_ptr<model::StatePool> pool_;
  std::unique_ptr<model::Executor> executor_;
  std::optional<model::SequenceState> main_;
  std::deque<model::SequenceState> companions_;
  std::vector<std::vector<std::int64_t>> companion_tokens_;
  std::vector<std::int64_t> mtp_positions_;  // positions whose MTP logits are recorded

  // The step or draft under way.
  std::deque<Download> downloads_;
  std::int64_t begin_ = 0;
  std::int64_t rows_ = 0;
  std::optional<std::size_t> context_;  // index of the draft, or none during a step
  Status tap_status_;
};

Status Recorder::prepare() {
  if (length() == 0) return fail(ErrorCode::kInvalidArgument, "there are no tokens to run");
  if (options_.chunk < 1 || options_.batch < 1) {
    return fail(ErrorCode::kInvalidArgument, "chunk and batch must be at least 1");
  }
  for (const auto* list : {&options_.logits_positions, &options_.mtp_logits_positions, &options_.trace_positions,
                           &options_.context_positions}) {
    for (std::size_t i = 0; i < list->size(); ++i) {
      if ((*list)[i] < 0 || (*list)[i] >= length() || (i > 0 && (*list)[i] <= (*list)[i - 1])) {
        return fail(
            ErrorCode::kInvalidArgument,
            fmt::format("position {} is not below the {} tokens, or not in ascending order", (*list)[i], length()));
      }
    }
  }
  const std::int64_t chunk = std::min(options_.chunk, length());
  if (options_.forced_inputs != nullptr && chunk < length()) {
    return fail(ErrorCode::kInvalidArgument, "given inputs need the whole sequence in one step");
  }
  const std::int64_t pages = (length() + ops::kPageTokens - 1) / ops::kPageTokens + 1;
  HADAL_ASSIGN(
      pool_, model::StatePool::create(model_.backend(), model_.state_layout(), options_.batch, pages * options_.batch));
  HADAL_ASSIGN(executor_, model::Executor::create(model_, *pool_,
                                                  {.max_rows = chunk * options_.batch,
                                                   .max_sequences = options_.batch,
                                                   .max_logits_rows = chunk,
                                                   .max_tokens = length() + ops::kPageTokens,
                                                   .max_drafts = options_.drafter ? 1 : 0,
                                                   .drafter_logits = mtp()}));
  HADAL_ASSIGN(main_, pool_->new_sequence());
  companion_tokens_.resize(static_cast<std::size_t>(options_.batch - 1));
  for (std::int64_t i = 1; i < options_.batch; ++i) {
    HADAL_ASSIGN(model::SequenceState companion, pool_->new_sequence());
    companions_.push_back(std::move(companion));
  }
  if (mtp()) {
    const bool own = !options_.mtp_logits_positions.empty();
    for (const std::int64_t position : own ? options_.mtp_logits_positions : options_.logits_positions) {
      if (position + 1 < length()) mtp_positions_.push_back(position);
    }
  }
  return {};
}

/// Gives every companion between 1 and `rows` new tokens, other ones in each step; starts it anew when it is long.
void Recorder::fill_companions(std::int64_t rows) {
  for (std::size_t i = 0; i < companions_.size(); ++i) {
    const auto random = philox({static_cast<std::uint32_t>(begin_), static_cast<std::uint32_t>(i), 0, 0}, {7, 0});
    const std::int64_t count = 1 + static_cast<std::int64_t>(random[0]) % rows;
    if (companions_[i].length() + count > length()) {
      companions_[i] = model::SequenceState();
      companions_[i] = *pool_->new_sequence();
    }
    auto& tokens = companion_tokens_[i];
    tokens.resize(static_cast<std::size_t>(count));
    for (std::int64_t j = 0; j < count; ++j) {
      const auto bits = philox({static_cast<std::uint32_t>(begin_ + j), static_cast<std::uint32_t>(i), 1, 0}, {7, 0});
      tokens[static_cast<std::size_t>(j)] = static_cast<std::int64_t>(bits[0]) % config_.vocab_size;
    }
  }
}

Result<std::unique_ptr<VectorSet>> Recorder::run() {
  HADAL_TRY(prepare());
  // Chunks end where a draft's context ends.
  std::size_t context = 0;
  for (std::int64_t begin = 0; begin < length();) {
    std::int64_t count = std::min(options_.chunk, length() - begin);
    const bool more = dspark() && context < options_.context_positions.size();
    if (more) count = std::min(count, options_.context_positions[context] + 1 - begin);
    HADAL_TRY(step(begin, count));
    begin += count;
    if (more && begin == options_.context_positions[context] + 1) HADAL_TRY(draft(context++));
  }
  return std::move(owned_);
}

Status Recorder::step(std::int64_t begin, std::int64_t count) {
  begin_ = begin;
  rows_ = count;
  context_.reset();
  downloads_.clear();
  fill_companions(count);
  std::vector<model::StepSequence> sequences{
      {.state = &*main_, .tokens = tokens_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count))}};
  std::vector<std::int64_t> accepted{count};
  for (std::size_t i = 0; i < companions_.size(); ++i) {
    sequences.push_back({.state = &companions_[i], .tokens = companion_tokens_[i]});
    accepted.push_back(static_cast<std::int64_t>(companion_tokens_[i].size()));
  }
  // Rows with logits of the main model (position p) or of MTP (row p + 1 holds position p); the union is computed once.
  std::vector<std::int32_t> rows;
  std::vector<std::int64_t> main_wanted;
  std::vector<std::int64_t> mtp_wanted;
  for (std::int64_t row = 0; row < count; ++row) {
    const bool main =
        std::binary_search(options_.logits_positions.begin(), options_.logits_positions.end(), begin + row);
    const bool drafted = std::binary_search(mtp_positions_.begin(), mtp_positions_.end(), begin + row - 1);
    if (main || drafted) rows.push_back(static_cast<std::int32_t>(row));
    if (main || drafted) main_wanted.push_back(main ? begin + row : -1);
    if (main || drafted) mtp_wanted.push_back(drafted ? begin + row - 1 : -1);
  }
  const model::ActivationTap tap = [this](std::string_view name, std::int64_t layer, const TensorView& view) {
    this->tap(name, layer, view);
  };
  tap_status_ = {};
  HADAL_TRY(executor_->forward({.sequences = sequences, .logits_rows = rows, .drafter_logits = mtp(), .tap = &tap}));
  HADAL_TRY(tap_status_);
  HADAL_TRY(keep_logits(executor_->logits(), "", main_wanted));
  if (mtp()) HADAL_TRY(keep_logits(executor_->drafter_logits(), "mtp.0.", mtp_wanted));
  HADAL_TRY(executor_->commit(accepted));
  executor_->stream().wait();
  for (Download& download : downloads_) keep(download);
  return {};
}

Status Recorder::keep_logits(const TensorView& logits, const std::string& prefix,
                             const std::vector<std::int64_t>& wanted) {
  const auto& positions = prefix.empty() ? options_.logits_positions : mtp_positions_;
  if (positions.empty()) return {};
  const auto total = static_cast<std::int64_t>(positions.size());
  const std::int64_t vocabulary = config_.vocab_size;
  const TensorView list(set_.add(prefix + "logits_positions", DType::kI64, {total}), DType::kI64, {total});
  std::copy(positions.begin(), positions.end(), list.as<std::int64_t>());
  const TensorView rows(set_.add(prefix + "logits", DType::kF32, {total, vocabulary}), DType::kF32,
                        {total, vocabulary});
  if (wanted.empty()) return {};
  std::vector<float> values(static_cast<std::size_t>(logits.elements()));
  HADAL_TRY(executor_->read(logits, values));
  for (std::size_t row = 0; row < wanted.size(); ++row) {
    if (wanted[row] < 0) continue;
    const auto place = std::lower_bound(positions.begin(), positions.end(), wanted[row]) - positions.begin();
    std::copy_n(values.data() + row * static_cast<std::size_t>(vocabulary), vocabulary, rows.row<float>(place));
  }
  return {};
}

void Recorder::force_input(std::int64_t layer, const TensorView& view) {
  const bool drafter = layer >= config_.num_hidden_layers;
  const std::string name = drafter ? "mtp.0.input" : fmt::format("layers.{}.input", layer);
  if (!options_.forced_inputs->contains(name)) return;
  auto given = reals(*options_.forced_inputs, name);
  if (!given) {
    tap_status_ = tl::unexpected<Error>(given.error());
    return;
  }
  // MTP's row 0 stands before the sequence; its golden input begins with position 0, in row 1.
  const std::int64_t first = drafter ? 1 : 0;
  const std::int64_t width = view.extent(1) * view.extent(2);
  if (static_cast<std::int64_t>(given->size()) != (length() - first) * width) {
    tap_status_ = fail(ErrorCode::kInvalidArgument,
                       fmt::format("'{}' has {} values, not {}", name, given->size(), (length() - first) * width));
    return;
  }
  const TensorView rows = view.rows(first, length() - first);
  if (view.type() == DType::kF64) {
    const std::vector<double> wide(given->begin(), given->end());
    executor_->stream().upload(rows.bytes(), wide.data(), rows.byte_size());
  } else {
    executor_->stream().upload(rows.bytes(), given->data(), rows.byte_size());
  }
}

void Recorder::tap(std::string_view name, std::int64_t layer, const TensorView& view) {
  if (name == "input") {
    if (options_.forced_inputs != nullptr) force_input(layer, view);
    return;
  }
  const bool selection = name == "experts" || name == "index_selected";
  const bool of_context = name == "main_x" || name == "context_kv" || name == "target_hidden";
  if (!traces() && !selection && !of_context && !context_) return;
  if (!traces() && !options_.drafter && !of_context && !context_) return;
  if (view.rank() == 0 || view.extent(0) == 0 || (of_context && !dspark())) return;

  std::int64_t rows = view.extent(0);
  if (!context_) {
    // Rows of the recorded sequence come first; entries are counted by the blocks that end in this step.
    if (name == "compressed" || name == "index_keys") {
      const std::int64_t ratio = config_.compress_ratios[static_cast<std::size_t>(layer)];
      rows = (begin_ + rows_) / ratio - begin_ / ratio;
    } else {
      rows = rows_;
    }
    if (rows == 0) return;
  }
  Download& download = downloads_.emplace_back(Download{.name = std::string(name),
                                                        .layer = layer,
                                                        .type = view.type(),
                                                        .shape = with_rows(view.shape(), rows),
                                                        .bytes = {}});
  download.bytes.resize(static_cast<std::size_t>(download.view().byte_size()));
  executor_->stream().download(download.bytes.data(), view.bytes(), download.view().byte_size());
}

void Recorder::keep_rows(const std::string& name, Download& download, std::int64_t first_position,
                         const std::vector<std::int64_t>& wanted) {
  const auto total = static_cast<std::int64_t>(wanted.size());
  const std::int64_t width = row_elements(download.shape);
  const TensorView out(set_.add(name, DType::kF32, with_rows(download.shape, total)), DType::kF32, {total, width});
  for (std::int64_t i = 0; i < total; ++i) {
    const std::int64_t row = wanted[static_cast<std::size_t>(i)] - first_position;
    if (row < 0 || row >= download.shape[0]) continue;
    for (std::int64_t c = 0; c < width; ++c) out.row<float>(i)[c] = load<float>(download.view(), row * width + c);
  }
}

/// Copies the rows of `download` to rows first_row.. of the recorded tensor, whose leading dimensions make up its rows.
void Recorder::keep_all(const std::string& name, Download& download, std::int64_t first_row, const Shape& shape) {
  const std::int64_t width = row_elements(download.shape);
  const std::int64_t total_rows = width == 0 ? 0 : shape.elements() / width;
  const bool integer = download.type == DType::kI32;
  const DType type = integer ? DType::kI32 : DType::kF32;
  const TensorView out(set_.add(name, type, shape), type, {total_rows, width});
  for (std::int64_t row = 0; row < download.shape[0]; ++row) {
    if (first_row + row < 0 || first_row + row >= total_rows) continue;
    for (std::int64_t c = 0; c < width; ++c) {
      if (integer) {
        out.row<std::int32_t>(first_row + row)[c] = download.view().as<std::int32_t>()[row * width + c];
      } else {
        out.row<float>(first_row + row)[c] = load<float>(download.view(), row * width + c);
      }
    }
  }
}

void Recorder::keep(Download& download) {
  const std::int64_t drafter_layer = download.layer - config_.num_hidden_layers;
  if (drafter_layer >= 0 && dspark()) {
    if (download.name == "context_kv") {
      keep_all(fmt::format("dspark.{}.context_kv", drafter_layer), download, begin_,
               with_rows(download.shape, length()));
    } else if (download.name == "main_x") {
      keep_rows("dspark.main_x", download, begin_, options_.context_positions);
    } else if (download.name == "target_hidden") {
      keep_rows("dspark.target_hidden", download, begin_, options_.full_positions);
    }
    return;
  }
  // Rows of MTP stand one position earlier than the step's tokens.
  const bool of_mtp = drafter_layer >= 0;
  const std::string prefix = of_mtp ? "mtp.0." : fmt::format("layers.{}.", download.layer);
  const std::int64_t first = of_mtp ? begin_ - 1 : begin_;
  const std::int64_t total = of_mtp ? length() - 1 : length();
  if (download.name == "compressed" || download.name == "index_keys") {
    const std::int64_t ratio = config_.compress_ratios[static_cast<std::size_t>(download.layer)];
    keep_all(prefix + download.name, download, begin_ / ratio, with_rows(download.shape, length() / ratio));
  } else if (download.name == "experts" || download.name == "index_selected" || download.name == "expert_weights") {
    keep_all(prefix + download.name, download, first, with_rows(download.shape, total));
  } else {
    std::vector<std::int64_t> wanted = options_.trace_positions;
    if (of_mtp) std::erase(wanted, length() - 1);
    keep_rows(prefix + download.name, download, first, wanted);
  }
}

Result<std::int64_t> Recorder::argmax_of_last_row() {
  // The row after the last position was asked for by the caller's list, or is run for here without being committed.
  auto logits = set_.tensor("logits");
  const auto found = std::find(options_.logits_positions.begin(), options_.logits_positions.end(), length() - 1);
  if (!logits || found == options_.logits_positions.end()) {
    return fail(ErrorCode::kInvalidArgument,
                "a draft after the last token needs the logits of the last position: ask for them");
  }
  HADAL_ASSIGN(const std::vector<float> values, reals(set_, "logits"));
  const auto row = values.begin() + (found - options_.logits_positions.begin()) * config_.vocab_size;
  return std::max_element(row, row + config_.vocab_size) - row;
}

Status Recorder::draft(std::size_t context) {
  const std::int64_t position = options_.context_positions[context];
  std::int64_t anchor = options_.anchors[context];
  if (anchor < 0) {
    HADAL_ASSIGN(anchor, argmax_of_last_row());
  }
  downloads_.clear();
  context_ = context;
  const model::SequenceState* const sequence = &*main_;
  const model::ActivationTap tap = [this](std::string_view name, std::int64_t layer, const TensorView& view) {
    this->tap(name, layer, view);
  };
  HADAL_TRY(executor_->begin_draft({&sequence, 1}, {&anchor, 1}, &tap));
  executor_->stream().wait();
  for (Download& download : downloads_) keep_block(download);

  const std::int64_t B = executor_->draft_length();
  const auto contexts = static_cast<std::int64_t>(options_.context_positions.size());
  const std::int64_t vocabulary = config_.vocab_size;
  const auto place = static_cast<std::int64_t>(context);
  const TensorView positions(set_.add("dspark.context_positions", DType::kI64, {contexts}), DType::kI64, {contexts});
  const TensorView anchors(set_.add("dspark.anchors", DType::kI64, {contexts}), DType::kI64, {contexts});
  positions.as<std::int64_t>()[place] = position;
  anchors.as<std::int64_t>()[place] = anchor;
  const TensorView logits(set_.add("dspark.logits", DType::kF32, {contexts, B, vocabulary}), DType::kF32,
                          {contexts * B, vocabulary});
  const TensorView chosen(set_.add("dspark.tokens", DType::kI64, {contexts, B}), DType::kI64, {contexts, B});
  const TensorView confidence(set_.add("dspark.confidence", DType::kF32, {contexts, B}), DType::kF32, {contexts, B});
  std::int64_t previous = anchor;
  for (std::int64_t i = 0; i < B; ++i) {
    HADAL_TRY(executor_->next_draft({&previous, 1}));
    float* const row = logits.row<float>(place * B + i);
    HADAL_TRY(executor_->read(executor_->draft_logits(), {row, static_cast<std::size_t>(vocabulary)}));
    HADAL_TRY(executor_->read(executor_->draft_confidence(), {confidence.row<float>(place) + i, 1}));
    previous = std::max_element(row, row + vocabulary) - row;
    chosen.row<std::int64_t>(place)[i] = previous;
  }
  context_.reset();
  return {};
}

/// A tensor of one draft: rows are the block's, kept under the index of its context.
void Recorder::keep_block(Download& download) {
  const std::int64_t stage = download.layer - config_.num_hidden_layers;
  const auto contexts = static_cast<std::int64_t>(options_.context_positions.size());
  const std::int64_t B = executor_->draft_length();
  const auto place = static_cast<std::int64_t>(*context_);
  if (download.name == "hidden" || download.name == "base_logits") {
    keep_all("dspark." + download.name, download, place * B, with_outer(contexts, download.shape));
  } else if (download.name == "experts") {
    keep_all(fmt::format("dspark.{}.experts", stage), download, place * B, with_outer(contexts, download.shape));
  } else if (download.name == "kv" || download.name == "after_attention" || download.name == "output") {
    const auto full = std::find(options_.full_positions.begin(), options_.full_positions.end(),
                                options_.context_positions[*context_]);
    if (full == options_.full_positions.end()) return;
    const std::string name = download.name == "kv" ? "draft_kv" : download.name;
    keep_all(fmt::format("dspark.{}.{}", stage, name), download, (full - options_.full_positions.begin()) * B,
             with_outer(static_cast<std::int64_t>(options_.full_positions.size()), download.shape));
  }
}

}  // namespace

Result<std::unique_ptr<VectorSet>> record(const model::Model& model, std::span<const std::int64_t> tokens,
                                          const RecordOptions& options) {
  return Recorder(model, tokens, options).run();
}

}  // namespace hadal::engine

#include "formats/random_checkpoint.h"

#include <fmt/core.h>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "formats/checkpoint_writer.h"
#include "formats/presets.h"
#include "formats/random_weights.h"
#include "formats/safetensors_writer.h"

namespace hadal::formats {
namespace {

constexpr std::int64_t kChunk = std::int64_t{8} << 20;

std::string notice(const RandomCheckpoint& request) {
  if (request.sparse) {
    return "The shards of this checkpoint have true headers and no data: every weight reads as zero.\n"
           "It serves to try how a checkpoint of this size is found, checked and mapped. It answers nothing.\n";
  }
  return fmt::format(
      "The weights of this checkpoint are random numbers (seed {}). Nothing was learned: what the model answers has "
      "no\n"
      "meaning. It serves to try programs and to measure speed.\n",
      request.seed);
}

/// Makes the bytes of tensors and streams them into their files.
class RandomTensors {
 public:
  RandomTensors(const RandomCheckpoint& request, std::int64_t total)
      : request_(request),
        weights_(request.config, request.seed),
        pool_(std::max(request.threads, 1)),
        chunk_(request.sparse ? 0 : static_cast<std::size_t>(kChunk)),
        total_(total) {}

  Status write(const ExpectedTensor& tensor, SafetensorsWriter& writer) {
    const std::int64_t bytes = tensor.bytes();
    for (std::int64_t begin = 0; begin < bytes; begin += kChunk) {
      const std::int64_t count = std::min(kChunk, bytes - begin);
      const auto fill = [&](std::int64_t from, std::int64_t to, int /*worker*/) {
        weights_.fill(tensor, begin + from,
                      std::span(chunk_).subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from)));
      };
      pool_.parallel_for(count, RandomWeights::kPiece, fill);
      HADAL_TRY(writer.write(std::span(chunk_).first(static_cast<std::size_t>(count))));
      done_ += count;
      if (request_.progress && !request_.progress(done_, total_)) {
        return fail(ErrorCode::kCancelled,
                    fmt::format("{}: stopped before its end; nothing of it is left", request_.directory.string()));
      }
    }
    return {};
  }

 private:
  const RandomCheckpoint& request_;
  RandomWeights weights_;
  ThreadPool pool_;
  std::vector<std::byte> chunk_;
  std::int64_t total_;
  std::int64_t done_ = 0;
};

}  // namespace

DrafterShape drafter_shape(const ModelConfig& config) {
  const auto stages = static_cast<std::int64_t>(config.compress_ratios.size()) - config.num_hidden_layers;
  switch (drafter_fields(config)) {
    case DrafterFields::kDSpark:
      if (stages < 1) return {};  // fields of a drafter that compress_ratios does not describe
      return {DrafterKind::kDSpark, stages};
    case DrafterFields::kMtp:
      return {DrafterKind::kMtp, 1};
    case DrafterFields::kNone:
      break;
  }
  return {};
}

Status write_random_checkpoint(const RandomCheckpoint& request) {
  HADAL_ASSIGN(TensorTable table, TensorTable::make(request.config, drafter_shape(request.config), request.formats));
  const bool quantized = request.formats.linear == DType::kE4m3 || request.formats.expert == DType::kE4m3;
  HADAL_ASSIGN(CheckpointWriter writer, CheckpointWriter::create(request.directory, request.config, std::move(table),
                                                                 {.quantized = quantized, .sparse = request.sparse}));
  RandomTensors tensors(request, writer.total_bytes());
  HADAL_TRY(writer.write_shards(
      [&](const ExpectedTensor& tensor, SafetensorsWriter& file) { return tensors.write(tensor, file); }));
  HADAL_TRY(writer.add_file("RANDOM_WEIGHTS.txt", notice(request)));
  return writer.publish();
}

}  // namespace hadal::formats

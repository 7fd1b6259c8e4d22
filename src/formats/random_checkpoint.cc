#include "formats/random_checkpoint.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "base/units.h"
#include "formats/presets.h"
#include "formats/random_weights.h"
#include "formats/safetensors_writer.h"

namespace hadal::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kChunk = std::int64_t{8} << 20;

/// The directory under its temporary name; removed with all its content unless it was published.
class Draft {
 public:
  explicit Draft(fs::path path) : path_(std::move(path)) {}
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  ~Draft() {
    std::error_code ignored;
    if (!published_) fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

  Status publish(const fs::path& name) {
    std::error_code error;
    fs::rename(path_, name, error);
    if (error) {
      return fail(ErrorCode::kUnavailable,
                  fmt::format("{}: cannot rename the finished directory to it: {}", name.string(), error.message()));
    }
    published_ = true;
    return {};
  }

 private:
  fs::path path_;
  bool published_ = false;
};

Status check_free(const fs::path& directory) {
  std::error_code error;
  if (!fs::exists(directory, error)) return {};
  if (!fs::is_directory(directory, error)) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: is a file; name a directory that does not exist yet", directory.string()));
  }
  if (!fs::is_empty(directory, error) || error) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("{}: is not empty; name a directory that does not exist yet", directory.string()));
  }
  return {};
}

std::string shard_name(std::int64_t shard, std::int64_t shards) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard, shards);
}

/// In the official form: two spaces, no final newline.
std::string index_json(const TensorTable& table) {
  std::int64_t bytes = 0;
  for (const ExpectedTensor& tensor : table.tensors) bytes += tensor.bytes();
  std::string text =
      fmt::format("{{\n  \"metadata\": {{\n    \"total_size\": {}\n  }},\n  \"weight_map\": {{\n", bytes);
  for (const ExpectedTensor& tensor : table.tensors) {
    const bool last = &tensor == &table.tensors.back();
    text += fmt::format("    \"{}\": \"{}\"{}\n", tensor.name, shard_name(tensor.shard, table.shards), last ? "" : ",");
  }
  return text + "  }\n}";
}

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

/// Makes the bytes of one shard's tensors and streams them into its file.
class ShardWriter {
 public:
  ShardWriter(const RandomCheckpoint& request, std::int64_t total)
      : request_(request),
        weights_(request.config, request.seed),
        pool_(std::max(request.threads, 1)),
        chunk_(request.sparse ? 0 : static_cast<std::size_t>(kChunk)),
        total_(total) {}

  Status write(const fs::path& path, std::span<const ExpectedTensor> tensors) {
    std::vector<TensorSpec> specs;
    specs.reserve(tensors.size());
    for (const ExpectedTensor& tensor : tensors) specs.push_back({tensor.name, tensor.type, tensor.shape});
    HADAL_ASSIGN(auto writer, SafetensorsWriter::create(path, specs));
    if (request_.sparse) {
      HADAL_TRY(writer.leave_hole());
      return writer.finish();
    }
    for (const ExpectedTensor& tensor : tensors) HADAL_TRY(write_tensor(writer, tensor));
    return writer.finish();
  }

 private:
  Status write_tensor(SafetensorsWriter& writer, const ExpectedTensor& tensor) {
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
        return fail(ErrorCode::kCancelled, fmt::format("{}: was not written to its end", request_.directory.string()));
      }
    }
    return {};
  }

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
  HADAL_ASSIGN(const TensorTable table,
               TensorTable::make(request.config, drafter_shape(request.config), request.formats));
  std::int64_t total = 0;
  for (const ExpectedTensor& tensor : table.tensors) total += tensor.bytes();

  // "dir/" and "dir" are the same place, and "." has a parent.
  fs::path target = fs::absolute(request.directory).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  HADAL_TRY(check_free(target));
  std::error_code error;
  const fs::space_info space = fs::space(target.parent_path(), error);
  if (error) {
    return fail(ErrorCode::kNotFound, fmt::format("{}: there is no such directory to write into ({})",
                                                  target.parent_path().string(), error.message()));
  }
  if (!request.sparse && space.available < static_cast<std::uintmax_t>(total)) {
    return fail(
        ErrorCode::kResourceExhausted,
        fmt::format("{}: the checkpoint needs {}, but the disk has {} left; free some room, choose another place "
                    "or use --sparse",
                    request.directory.string(), human_bytes(total),
                    human_bytes(static_cast<std::int64_t>(space.available))));
  }

  Draft draft(target.string() + fmt::format(".{}.partial", ::getpid()));
  fs::create_directory(draft.path(), error);
  if (error) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("{}: cannot create it: {}", request.directory.string(), error.message()));
  }
  ShardWriter shards(request, total);
  std::span<const ExpectedTensor> rest(table.tensors);
  for (std::int64_t shard = 1; shard <= table.shards; ++shard) {
    std::size_t count = 0;
    while (count < rest.size() && rest[count].shard == shard) ++count;
    HADAL_TRY(shards.write(draft.path() / shard_name(shard, table.shards), rest.first(count)));
    rest = rest.subspan(count);
  }
  const bool quantized = request.formats.linear == DType::kE4m3 || request.formats.expert == DType::kE4m3;
  const std::string generation = fmt::format(
      "{{\n  \"_from_model_config\": true,\n  \"bos_token_id\": {},\n  \"eos_token_id\": {},\n"
      "  \"do_sample\": true,\n  \"temperature\": 1.0,\n  \"top_p\": 1.0\n}}\n",
      request.config.bos_token_id, request.config.eos_token_id);
  HADAL_TRY(write_file_atomically(draft.path() / "RANDOM_WEIGHTS.txt", notice(request)));
  HADAL_TRY(write_file_atomically(draft.path() / "generation_config.json", generation));
  HADAL_TRY(write_file_atomically(draft.path() / "model.safetensors.index.json", index_json(table)));
  HADAL_TRY(write_file_atomically(draft.path() / "config.json", model_config_json(request.config, quantized)));
  return draft.publish(target);
}

}  // namespace hadal::formats

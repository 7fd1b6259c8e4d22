#include "formats/checkpoint_writer.h"

#include <fmt/core.h>
#include <unistd.h>

#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "base/mapped_file.h"
#include "base/units.h"

namespace hadal::formats {
namespace {

namespace fs = std::filesystem;

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

/// That the disk under `place` has room for `bytes`. File systems that do not count their room are believed to have it.
Status check_room(const fs::path& place, const fs::path& directory, std::int64_t bytes) {
  std::error_code error;
  const fs::space_info space = fs::space(place, error);
  if (error || space.capacity == 0 || space.available >= static_cast<std::uintmax_t>(bytes)) return {};
  return fail(
      ErrorCode::kResourceExhausted,
      fmt::format("{}: the checkpoint needs {}, but the disk has {} left; free some room or choose another "
                  "place",
                  directory.string(), human_bytes(bytes), human_bytes(static_cast<std::int64_t>(space.available))));
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

}  // namespace

Result<CheckpointWriter> CheckpointWriter::create(const fs::path& directory, const ModelConfig& config,
                                                  TensorTable table, const Options& options) {
  CheckpointWriter writer;
  writer.config_ = config;
  writer.table_ = std::move(table);
  writer.options_ = options;
  // "dir/" and "dir" are the same place, and "." has a parent.
  fs::path target = fs::absolute(directory).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  HADAL_TRY(check_free(target));
  std::error_code error;
  if (!fs::is_directory(target.parent_path(), error)) {
    return fail(ErrorCode::kNotFound,
                fmt::format("{}: there is no such directory to write into; make it first, or choose another place",
                            target.parent_path().string()));
  }
  const fs::path draft = target.string() + fmt::format(".{}.partial", ::getpid());
  fs::create_directory(draft, error);
  if (error) {
    return fail(ErrorCode::kUnavailable, fmt::format("{}: cannot create it: {}; choose a place that can be written to",
                                                     directory.string(), error.message()));
  }
  writer.draft_ = draft;  // from here on removed again if something fails
  if (!options.sparse) HADAL_TRY(check_room(draft, directory, writer.total_bytes()));
  writer.target_ = std::move(target);
  return writer;
}

CheckpointWriter::CheckpointWriter(CheckpointWriter&& other) noexcept
    : target_(std::move(other.target_)),
      draft_(std::exchange(other.draft_, {})),
      config_(std::move(other.config_)),
      table_(std::move(other.table_)),
      options_(other.options_) {}

CheckpointWriter::~CheckpointWriter() {
  std::error_code ignored;
  if (!draft_.empty()) fs::remove_all(draft_, ignored);
}

std::int64_t CheckpointWriter::total_bytes() const {
  std::int64_t total = 0;
  for (const ExpectedTensor& tensor : table_.tensors) total += tensor.bytes();
  return total;
}

Status CheckpointWriter::write_shards(const WriteTensor& write) {
  std::span<const ExpectedTensor> rest(table_.tensors);
  for (std::int64_t shard = 1; shard <= table_.shards; ++shard) {
    std::vector<TensorSpec> specs;
    while (specs.size() < rest.size() && rest[specs.size()].shard == shard) {
      const ExpectedTensor& tensor = rest[specs.size()];
      specs.push_back({tensor.name, tensor.type, tensor.shape});
    }
    HADAL_ASSIGN(auto file, SafetensorsWriter::create(draft_ / shard_name(shard, table_.shards), specs));
    if (options_.sparse) {
      HADAL_TRY(file.leave_hole());
    } else {
      for (const ExpectedTensor& tensor : rest.first(specs.size())) HADAL_TRY(write(tensor, file));
    }
    HADAL_TRY(file.finish());
    rest = rest.subspan(specs.size());
  }
  return {};
}

Status CheckpointWriter::add_file(std::string_view name, std::string_view contents) {
  return write_file_atomically(draft_ / name, contents);
}

Status CheckpointWriter::publish() {
  if (!std::filesystem::exists(draft_ / "generation_config.json")) {
    HADAL_TRY(add_file("generation_config.json",
                       fmt::format("{{\n  \"_from_model_config\": true,\n  \"bos_token_id\": {},\n  \"eos_token_id\": "
                                   "{},\n  \"do_sample\": true,\n  \"temperature\": 1.0,\n  \"top_p\": 1.0\n}}\n",
                                   config_.bos_token_id, config_.eos_token_id)));
  }
  HADAL_TRY(add_file("model.safetensors.index.json", index_json(table_)));
  HADAL_TRY(add_file("config.json", model_config_json(config_, options_.quantized)));
  std::error_code error;
  fs::rename(draft_, target_, error);
  if (error) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("{}: cannot rename the finished directory to it: {}", target_.string(), error.message()));
  }
  draft_.clear();
  return {};
}

}  // namespace hadal::formats

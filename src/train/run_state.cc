#include "train/run_state.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

namespace hadal::train {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kMaster = "master.";

formats::HostTensor host(const void* data, DType type, Shape shape) {
  return {static_cast<const std::byte*>(data), type, shape, shape.elements() * size_of(type)};
}

formats::HostTensor host(std::span<const float> values) {
  return host(values.data(), DType::kF32, {static_cast<std::int64_t>(values.size())});
}

Status copy_floats(const CheckpointFile& file, std::string_view name, std::span<float> out) {
  HADAL_ASSIGN(const auto found, file.tensor(name, DType::kF32, static_cast<std::int64_t>(out.size())));
  std::memcpy(out.data(), found.data, out.size_bytes());
  return {};
}

}  // namespace

std::string to_json(const RunState& state) {
  Json json{{"step", state.step},
            {"tokens", state.tokens},
            {"stage", state.stage},
            {"seconds", state.seconds},
            {"adam_steps", state.adam_steps},
            {"losses", state.spikes.losses},
            {"skipped", state.spikes.skipped},
            {"total_skipped", state.spikes.total_skipped},
            {"returned_to", state.returned_to},
            {"best_loss", state.best_loss ? Json(*state.best_loss) : Json()},
            {"data", to_json(state.data)},
            {"model_config", state.model_config},
            {"settings", state.settings},
            {"environment", state.environment},
            {"tokenizer_sha256", state.tokenizer_sha256}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<RunState> parse_run_state(std::string_view text, std::string_view where) {
  RunState state;
  std::string data;
  try {
    const Json json = Json::parse(text);
    json.at("step").get_to(state.step);
    json.at("tokens").get_to(state.tokens);
    json.at("stage").get_to(state.stage);
    json.at("seconds").get_to(state.seconds);
    json.at("adam_steps").get_to(state.adam_steps);
    json.at("losses").get_to(state.spikes.losses);
    json.at("skipped").get_to(state.spikes.skipped);
    json.at("total_skipped").get_to(state.spikes.total_skipped);
    json.at("returned_to").get_to(state.returned_to);
    if (const Json& best = json.at("best_loss"); !best.is_null()) state.best_loss = best.get<double>();
    json.at("data").get_to(data);
    json.at("model_config").get_to(state.model_config);
    json.at("settings").get_to(state.settings);
    json.at("environment").get_to(state.environment);
    json.at("tokenizer_sha256").get_to(state.tokenizer_sha256);
  } catch (const nlohmann::json::exception& error) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: its state cannot be read ({})", where, error.what()));
  }
  HADAL_ASSIGN(state.data, parse_data_state(data));
  return state;
}

Status save_run(const std::filesystem::path& path, const RunState& state, const RunTensors& tensors) {
  std::vector<formats::NamedTensor> list;
  for (const Parameter& tensor : tensors.parameters.tensors()) {
    const bool constant = tensor.rule == UpdateRule::kConstant;
    list.push_back({std::string(kMaster) + tensor.name,
                    constant ? host(tensors.parameters.constants(tensor).data(), DType::kI64, tensor.shape)
                             : host(tensors.parameters.master(tensor).data(), DType::kF32, tensor.shape)});
  }
  list.push_back({"adam.first_moments", host(tensors.adam.first_moments())});
  list.push_back({"adam.second_moments", host(tensors.adam.second_moments())});
  list.push_back({"muon.momentum", host(tensors.muon.momentum())});
  return write_checkpoint_file(path, to_json(state), list);
}

Status load_tensors(const CheckpointFile& file, const RunTensors& tensors) {
  for (const Parameter& tensor : tensors.parameters.tensors()) {
    const std::string name = std::string(kMaster) + tensor.name;
    if (tensor.rule != UpdateRule::kConstant) {
      HADAL_TRY(copy_floats(file, name, tensors.parameters.master(tensor)));
      continue;
    }
    const std::span<std::int64_t> values = tensors.parameters.constants(tensor);
    HADAL_ASSIGN(const auto found, file.tensor(name, DType::kI64, static_cast<std::int64_t>(values.size())));
    std::memcpy(values.data(), found.data, values.size_bytes());
  }
  HADAL_TRY(copy_floats(file, "adam.first_moments", tensors.adam.first_moments()));
  HADAL_TRY(copy_floats(file, "adam.second_moments", tensors.adam.second_moments()));
  return copy_floats(file, "muon.momentum", tensors.muon.momentum());
}

MasterSource::MasterSource(const CheckpointFile& file) : description_(file.path().string()) {
  for (const auto& [name, tensor] : file.tensors()) {
    if (name.starts_with(kMaster)) tensors_.emplace(name.substr(kMaster.size()), tensor);
  }
}

Result<formats::HostTensor> MasterSource::tensor(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    return fail(ErrorCode::kNotFound, fmt::format("{}: there is no tensor '{}'", description_, name));
  }
  return found->second;
}

std::vector<std::string> MasterSource::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

}  // namespace hadal::train

#include "api/models.h"

#include <fmt/core.h>

#include <set>
#include <utility>

#include "text/json_text.h"

namespace hadal::api {
namespace {

using text::JsonValue;

JsonValue text_list(std::initializer_list<std::string_view> texts) {
  JsonValue list = JsonValue::array();
  for (const std::string_view text : texts) list.items.push_back(JsonValue::of(std::string(text)));
  return list;
}

JsonValue model_object(Family family, const ServedModel& model) {
  JsonValue out = JsonValue::object();
  out.add("id", JsonValue::of(model.id)).add("object", JsonValue::of(std::string("model")));
  if (family == Family::kOpenAi) out.add("created", JsonValue::of(model.created));
  out.add("owned_by", JsonValue::of(model.owned_by)).add("name", JsonValue::of(model.display_name));
  out.add("context_window", JsonValue::of(model.context)).add("max_output_tokens", JsonValue::of(model.max_output));
  out.add("input_modalities", text_list({"text"})).add("output_modalities", text_list({"text"}));
  JsonValue effort = JsonValue::object();
  effort.add("supported_levels", text_list({"low", "high", "max"}));
  effort.add("default_level", JsonValue::of(std::string("high")));
  out.add("effort", std::move(effort));
  JsonValue messages = JsonValue::object();
  messages.add("system_prompt_update", JsonValue::of(std::string("in-history")));
  JsonValue capabilities = JsonValue::object();
  capabilities.add("anthropic_messages", std::move(messages));
  out.add("api_capabilities", std::move(capabilities));
  if (family == Family::kOpenAi) out.add("max_model_len", JsonValue::of(model.context));
  return out;
}

std::string compact(const JsonValue& value) {
  std::string out;
  text::append_compact_json(out, value);
  return out;
}

/// Hundredths as text with two decimals.
std::string amount(std::int64_t hundredths) {
  const bool negative = hundredths < 0;
  const auto size = negative ? 0 - static_cast<std::uint64_t>(hundredths) : static_cast<std::uint64_t>(hundredths);
  return fmt::format("{}{}.{:02}", negative ? "-" : "", size / 100, size % 100);
}

}  // namespace

Result<ModelTable> ModelTable::create(std::vector<ServedModel> models, std::string accept_any) {
  if (models.empty()) return fail(ErrorCode::kInvalidArgument, "no model is served; name at least one");
  std::set<std::string> names;
  for (const ServedModel& model : models) {
    if (!names.insert(model.id).second) {
      return fail(ErrorCode::kInvalidArgument, fmt::format("two models are named '{}'; rename one", model.id));
    }
    for (const ModelAlias& alias : model.aliases) {
      if (names.insert(alias.name).second) continue;
      return fail(ErrorCode::kInvalidArgument, fmt::format("two models are named '{}'; rename one", alias.name));
    }
  }
  ModelTable table(std::move(models));
  if (!accept_any.empty() && table.find(accept_any) == nullptr) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("unknown names cannot mean '{}', which is not served", accept_any));
  }
  table.accept_any_ = std::move(accept_any);
  return table;
}

std::optional<ModelChoice> ModelTable::look_up(std::string_view name) const {
  for (const ServedModel& model : models_) {
    if (model.id == name) return ModelChoice{&model, model.thinking};
    for (const ModelAlias& alias : model.aliases) {
      if (alias.name == name) return ModelChoice{&model, alias.thinking.value_or(model.thinking)};
    }
  }
  return std::nullopt;
}

const ServedModel* ModelTable::find(std::string_view name) const {
  const auto choice = look_up(name);
  return choice ? choice->model : nullptr;
}

ApiResult<ModelChoice> ModelTable::choose(Family family, const std::optional<std::string>& name) const {
  if (!name) {
    if (family == Family::kOpenAi && models_.size() == 1) return ModelChoice{&models_[0], models_[0].thinking};
    return refuse(Cause::kMalformed, "model: a model must be named", "model");
  }
  if (name->empty() || name->size() > 256) {
    return refuse(Cause::kInvalidValue, "model: expected string of 1 to 256 bytes", "model");
  }
  if (const auto choice = look_up(*name)) return *choice;
  if (!accept_any_.empty()) return *look_up(accept_any_);
  std::string served;
  for (const ServedModel& model : models_) served += (served.empty() ? "" : " or ") + model.id;
  if (family == Family::kDeepSeek) {
    return refuse(Cause::kUnknownModel,
                  fmt::format("The supported API model names are {}, but you passed {}.", served, excerpt(*name, 256)),
                  "model");
  }
  return refuse(Cause::kUnknownModel,
                fmt::format("The model '{}' does not exist; served: {}", excerpt(*name, 256), served), "model");
}

std::optional<ServedModel> official_model(std::string_view preset) {
  ServedModel model;
  if (preset == "flash") {
    model.id = "deepseek-v4-flash";
    model.display_name = "DeepSeek-V4-Flash";
    model.owned_by = "deepseek";
    model.aliases = {{"deepseek-flash"}, {"deepseek-chat", false}, {"deepseek-reasoner", true}};
  } else if (preset == "pro") {
    model.id = "deepseek-v4-pro";
    model.display_name = "DeepSeek-V4-Pro";
    model.owned_by = "deepseek";
    model.aliases = {{"deepseek-pro"}};
  } else if (preset == "nano") {
    model.id = "hadal-nano";
    model.display_name = "Hadal-Nano";
    model.thinking = false;  // it has not learned to reason
  } else {
    return std::nullopt;
  }
  return model;
}

std::string model_list_body(Family family, const std::vector<const ServedModel*>& models, bool codex) {
  JsonValue data = JsonValue::array();
  for (const ServedModel* model : models) data.items.push_back(model_object(family, *model));
  JsonValue out = JsonValue::object();
  out.add("object", JsonValue::of(std::string("list"))).add("data", std::move(data));
  if (codex) out.add("models", JsonValue::array());
  return compact(out);
}

std::string model_body(Family family, const ServedModel& model) { return compact(model_object(family, model)); }

std::string balance_body(bool available, const std::vector<Balance>& balances) {
  JsonValue infos = JsonValue::array();
  for (const Balance& balance : balances) {
    JsonValue& info = infos.items.emplace_back(JsonValue::object());
    info.add("currency", JsonValue::of(balance.currency));
    info.add("total_balance", JsonValue::of(amount(balance.granted + balance.topped_up)));
    info.add("granted_balance", JsonValue::of(amount(balance.granted)));
    info.add("topped_up_balance", JsonValue::of(amount(balance.topped_up)));
  }
  JsonValue out = JsonValue::object();
  out.add("is_available", JsonValue::of(available)).add("balance_infos", std::move(infos));
  return compact(out);
}

}  // namespace hadal::api

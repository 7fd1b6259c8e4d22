#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/error.h"
#include "base/result.h"
#include "text/chat_message.h"

namespace hadal::api {

/// Another name of a model; it may switch the default of thinking.
struct ModelAlias {
  std::string name;
  std::optional<bool> thinking{};
};

/// One model that the server answers for.
struct ServedModel {
  std::string id;
  std::string display_name;
  std::string owned_by = "hadal";
  std::vector<ModelAlias> aliases{};
  std::int64_t context = 1'048'576;   // tokens of prompt and answer, as served
  std::int64_t max_output = 393'216;  // tokens
  std::int64_t vocab_size = 129'280;
  bool thinking = true;  // by default
  text::ChatRevision revision = text::ChatRevision::k0731;
  std::int64_t created = 0;  // seconds since 1970
};

/// A request's model and what its name says about thinking.
struct ModelChoice {
  const ServedModel* model = nullptr;
  bool thinking = true;
};

/// Names -> models. Immutable.
class ModelTable {
 public:
  /// `accept_any`: a name of a model that unknown names mean, or "". Errors: kInvalidArgument (no model, a name twice,
  /// an unknown `accept_any`).
  [[nodiscard]] static Result<ModelTable> create(std::vector<ServedModel> models, std::string accept_any = {});

  /// `name` absent: DeepSeek's families need one, OpenAI's only when several models are served. Errors: kMalformed,
  /// kUnknownModel.
  [[nodiscard]] ApiResult<ModelChoice> choose(Family family, const std::optional<std::string>& name) const;
  /// The model of an id or alias, or null.
  [[nodiscard]] const ServedModel* find(std::string_view name) const;
  [[nodiscard]] const std::vector<ServedModel>& models() const { return models_; }

 private:
  explicit ModelTable(std::vector<ServedModel> models) : models_(std::move(models)) {}
  [[nodiscard]] std::optional<ModelChoice> look_up(std::string_view name) const;

  std::vector<ServedModel> models_;
  std::string accept_any_;
};

/// Official names and aliases of the two V4 sizes and of the shipped small model, by preset name ("flash", "pro",
/// "nano"); nothing for others.
[[nodiscard]] std::optional<ServedModel> official_model(std::string_view preset);

/// Body of `GET /models`: the models that the caller may use, in order. `codex`: the query names client_version.
[[nodiscard]] std::string model_list_body(Family family, const std::vector<const ServedModel*>& models, bool codex);
/// Body of `GET /v1/models/{id}`.
[[nodiscard]] std::string model_body(Family family, const ServedModel& model);

/// One currency's balance in hundredths.
struct Balance {
  std::string currency = "CNY";  // or USD
  std::int64_t granted = 0;
  std::int64_t topped_up = 0;
};
/// Body of `GET /user/balance`.
[[nodiscard]] std::string balance_body(bool available, const std::vector<Balance>& balances);

}  // namespace hadal::api

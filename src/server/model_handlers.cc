#include "server/model_handlers.h"

#include <fmt/core.h>

#include <utility>

#include "api/token_bodies.h"

namespace hadal::server {
namespace {

/// Of the models that are served, those that the caller may use.
std::vector<const api::ServedModel*> visible_models(const ApiContext& context, const HttpRequest& request) {
  std::vector<const api::ServedModel*> models;
  for (const api::ServedModel& model : context.models.models()) {
    if (caller(request).identity.may_use(model.id)) models.push_back(&model);
  }
  return models;
}

bool names_client_version(std::string_view query) {
  return query.starts_with("client_version=") || query.find("&client_version=") != std::string_view::npos;
}

void list_models(const ApiContext& context, const HttpRequest& request, ResponseStream& answer) {
  answer.respond({.body = api::model_list_body(request.family, visible_models(context, request),
                                               names_client_version(request.head.query))});
}

void show_model(const ApiContext& context, const HttpRequest& request, ResponseStream& answer) {
  const api::ServedModel* const model = context.models.find(request.rest);
  if (model == nullptr || !caller(request).identity.may_use(model->id)) {
    const auto unknown = context.models.choose(request.family, request.rest);
    api::ApiError error = unknown ? api::ApiError{api::Cause::kUnknownModel,
                                                  fmt::format("The model '{}' does not exist", request.rest), "model"}
                                  : unknown.error();
    refuse(answer, request.family, refusal(std::move(error)));
    return;
  }
  answer.respond({.body = api::model_body(request.family, *model)});
}

void show_balance(const ApiContext& /*context*/, const HttpRequest& /*request*/, ResponseStream& answer) {
  answer.respond({.body = api::balance_body(true, {api::Balance{}})});
}

using TokenWork = api::ApiResult<std::string> (*)(const ApiContext&, const text::JsonValue&);

Route token_route(const ApiContext& context, std::string path, TokenWork work) {
  return {.method = "POST",
          .path = std::move(path),
          .family = api::Family::kOpenAi,
          .access = Access::kKey,
          .handler = [&context, work](const HttpRequest& request, const std::shared_ptr<ResponseStream>& answer) {
            const auto made =
                api::read_body(request.body, context.body_limits).and_then([&](const text::JsonValue& body) {
                  return work(context, body);
                });
            if (made) {
              answer->respond({.body = *made});
            } else {
              refuse(*answer, request.family, refusal(made.error()));
            }
          }};
}

}  // namespace

std::vector<Route> token_routes(const ApiContext& context) {
  return {token_route(context, "/tokenize",
                      [](const ApiContext& shared, const text::JsonValue& body) {
                        return api::tokenize_body(body, *shared.served.tokenizer, shared.settings);
                      }),
          token_route(context, "/detokenize",
                      [](const ApiContext& shared, const text::JsonValue& body) {
                        return api::detokenize_body(body, *shared.served.tokenizer);
                      }),
          token_route(context, "/apply-template", [](const ApiContext& shared, const text::JsonValue& body) {
            return api::template_body(body, shared.settings);
          })};
}

std::vector<Route> model_routes(const ApiContext& context) {
  using Work = void (*)(const ApiContext&, const HttpRequest&, ResponseStream&);
  const auto route = [&context](api::Family family, std::string path, Work work) {
    return Route{
        .method = "GET",
        .path = std::move(path),
        .family = family,
        .access = Access::kKey,
        .handler = [&context, work](const HttpRequest& request,
                                    const std::shared_ptr<ResponseStream>& answer) { work(context, request, *answer); },
        .quick = true};
  };
  using enum api::Family;
  return {route(kDeepSeek, "/models", list_models),        route(kDeepSeek, "/beta/models", list_models),
          route(kOpenAi, "/v1/models", list_models),       route(kOpenAi, "/v1/models/*", show_model),
          route(kDeepSeek, "/user/balance", show_balance), route(kDeepSeek, "/beta/user/balance", show_balance)};
}

}  // namespace hadal::server

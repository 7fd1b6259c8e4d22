#include "api/body.h"

#include <fmt/core.h>

namespace hadal::api {

ApiResult<text::JsonValue> read_body(std::string_view body, const BodyLimits& limits) {
  if (body.size() > limits.bytes) {
    return refuse(Cause::kBodyTooLarge, fmt::format("the body is longer than {} bytes", limits.bytes));
  }
  if (body.empty()) return refuse(Cause::kMalformed, "the body is empty; expected one JSON object");
  text::JsonLimits json;
  json.bytes = limits.bytes;
  json.members = limits.keys;
  json.items = limits.items;
  json.depth = limits.depth;
  json.unique_keys = true;
  auto value = text::parse_json(body, json);
  if (!value) return refuse(Cause::kMalformed, fmt::format("the body cannot be read: {}", value.error().message));
  if (!value->is(text::JsonKind::kObject)) return refuse(Cause::kMalformed, "the body must be one JSON object");
  return std::move(*value);
}

}  // namespace hadal::api

#pragma once

#include <any>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/error.h"
#include "server/http_message.h"
#include "server/refusal.h"
#include "server/response_stream.h"

namespace hadal::server {

/// Whether requests for the model are taken: those for routes of kKey and kInfer.
enum class ServingPhase : std::uint8_t {
  kLoading,  // not yet: 503
  kServing,
  kDraining,  // no more: 503
};

/// Who may use a route; the gate decides whether a caller is one of them.
enum class Access : std::uint8_t {
  kOpen,     // everybody: the gate is not asked
  kKey,      // who has a key
  kInfer,    // the same, within the key's rate limits
  kMetrics,  // who may read metrics
  kAdmin,
};

/// A request whose head has passed all checks that need no body.
struct HttpRequest {
  RequestHead head;
  std::string body{};  // complete, when the handler gets it
  std::string rest{};  // what the last segment of a path that ends in "/*" is
  api::Family family = api::Family::kOpenAi;
  std::string id{};         // "req_" and 24 letters or digits
  std::string trace_id{};   // 32 lower-case hexadecimal digits
  std::string client_id{};  // the client's own id of it, visible ASCII; "" if it gave none
  std::string address{};    // of the client
  std::any pass{};          // what the gate made of its caller
};

/// Answers one request through `answer`, at once or later, from any thread; letting go of the last copy of `answer`
/// without an answer is an error 500 for the client. Runs on one of the handler threads, several at a time, so it may
/// parse and tokenise but must not wait; the handler of a quick route runs on the network thread and must not even work
/// for long.
using Handler = std::function<void(HttpRequest request, std::shared_ptr<ResponseStream> answer)>;

/// What answers to a method and path. HEAD is answered by GET's route, without the body.
struct Route {
  std::string method;  // GET or POST; a POST must bring JSON
  std::string path;    // plain; a last segment "*" stands for any one segment
  api::Family family = api::Family::kOpenAi;
  Access access = Access::kKey;
  Handler handler;
  bool quick = false;
};

/// A caller who may pass.
struct GatePass {
  std::any pass{};                // becomes HttpRequest::pass; lives as long as the handler keeps the request
  std::string key_id{};           // for the access log
  std::vector<Header> headers{};  // of the answer, such as x-ratelimit-*
};

/// Decides about a request by its head, before its body is read. Runs on the network thread, so it must not block.
using Gate = std::function<tl::expected<GatePass, Refusal>(const HttpRequest& request, const Route& route)>;

/// All routes of a server. Immutable.
class RouteTable {
 public:
  explicit RouteTable(std::vector<Route> routes);

  struct Match {
    const Route* route = nullptr;  // null: none with this method
    std::string_view rest{};       // of a path that ends in "/*"; a view into the path
    std::string allow{};           // methods that the path has: "GET, HEAD"; "" for an unknown path
  };
  [[nodiscard]] Match find(std::string_view method, std::string_view path) const;

 private:
  std::vector<Route> routes_;
};

/// Whose errors a path gets, also where no route is.
[[nodiscard]] api::Family family_of_path(std::string_view path);

/// The answer to a request that fails, with `x-should-retry` and, after `retry_after` seconds, `retry-after`.
[[nodiscard]] Response error_response(api::Family family, const api::ApiError& error, double retry_after = 0);
/// The same for what the API has no cause for; the connection ends behind it.
[[nodiscard]] Response problem_response(api::Family family, const HttpProblem& problem);

}  // namespace hadal::server

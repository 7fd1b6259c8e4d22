#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace hadal::server {

/// One answer as it came.
struct RawAnswer {
  int status = 0;
  std::string head{};
  std::map<std::string, std::string> headers{};  // names in lower case
  std::string body{};                            // without the framing of chunks
  bool whole = false;                            // the end that its framing promises was there
};

/// A client that sends any bytes over a loopback socket and blocks for what comes back, at most half a minute.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port, const std::string& address = "127.0.0.1");
  /// To the Unix socket of that path.
  static RawClient to_unix(const std::string& path);
  RawClient(RawClient&& other) noexcept;
  RawClient& operator=(RawClient&&) = delete;
  ~RawClient();

  [[nodiscard]] bool connected() const { return fd_ >= 0; }
  /// Sends all; false when the server has closed.
  bool send(std::string_view bytes);
  /// Sends what the socket takes at once; how many bytes.
  std::size_t send_some(std::string_view bytes);
  /// Reads on until `mark` is there; what came up to and with it, or all until the end.
  std::string read_until(std::string_view mark);
  /// Reads one answer; `head_only`: to HEAD.
  RawAnswer read_answer(bool head_only = false);
  /// Reads on until the server closes; what came. None: it did not.
  std::optional<std::string> read_to_end();
  /// The server has broken off with a reset.
  [[nodiscard]] bool was_reset() const { return was_reset_; }
  /// Ends our side only.
  void finish();
  /// Breaks off with a reset.
  void reset();
  /// Makes the kernel keep little for us. Before the server sends.
  void shrink_buffer();

 private:
  RawClient() = default;
  /// False: the end, or nothing came.
  bool read_more();
  bool read_chunks(std::string& body);

  int fd_ = -1;
  bool ended_ = false;
  bool was_reset_ = false;
  std::string input_;
};

/// A request with Host and, if there is a body, its length and type.
[[nodiscard]] std::string http_request(std::string_view method, std::string_view path, std::string_view body = {},
                                       std::string_view headers = {});

}  // namespace hadal::server

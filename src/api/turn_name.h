#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/checksum.h"
#include "text/chat_message.h"
#include "text/chat_parser.h"

namespace hadal::api {

/// The name of a row of ids that grows: equal rows have equal names, however they were cut.
class IdHash {
 public:
  void add(std::span<const std::int32_t> ids);
  [[nodiscard]] Hash128 value() const;

 private:
  static constexpr std::size_t kBlock = 256;  // ids
  [[nodiscard]] Hash128 link() const;

  Hash128 chain_{};
  std::vector<std::int32_t> open_;  // fewer than kBlock
};

/// The name of a turn of the assistant as a client sends it back. Arguments count as JSON values: the order of keys,
/// spaces and the spelling of numbers do not matter.
struct TurnName {
  Hash128 message{};  // reasoning, content, and names and arguments of the calls
  Hash128 calls{};    // ids of the calls

  friend bool operator==(const TurnName&, const TurnName&) = default;
};

/// Of a turn that was generated.
[[nodiscard]] TurnName turn_name(const text::ParsedMessage& message, std::span<const std::string> call_ids);
/// Of a turn in a request; its reasoning counts only where the prompt shows it.
[[nodiscard]] TurnName turn_name(const text::Message& message, bool has_reasoning);

}  // namespace hadal::api

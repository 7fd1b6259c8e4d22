#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/philox.h"
#include "text/chat_message.h"

namespace hadal::text {

/// Reproducible choices for generated tests: a stream of Philox numbers of one seed.
class Choices {
 public:
  explicit Choices(std::uint32_t seed) : seed_(seed) {}

  /// Uniform in 0..count-1.
  std::size_t below(std::size_t count) {
    if (used_ == block_.size()) {
      block_ = philox({++counter_, 0, 0, 0}, {seed_, 0x43484154});
      used_ = 0;
    }
    return block_[used_++] % count;
  }
  bool one_in(std::size_t count) { return below(count) == 0; }
  template <class T, std::size_t N>
  const T& of(const std::array<T, N>& values) {
    return values[below(N)];
  }

 private:
  std::uint32_t seed_;
  std::uint32_t counter_ = 0;
  std::array<std::uint32_t, 4> block_{};
  std::size_t used_ = 4;
};

inline constexpr std::array<std::string_view, 27> kPlainPieces{
    "a",  "Hello", " ",  "\n", "\n\n", "\n\n\n", "<",     "</", "<b>", "</b>", "2 < 3", "2>&1",   "中文",  "é",
    "🌙", "\"",    "\\", "\t", "{",    "}",      "</div", "｜", "<｜", "</｜", "<thin", "[1, 2]", "\u2028"};

/// A text of a few pieces that looks dangerous and contains no marker.
inline std::string plain_text(Choices& choices, std::size_t most = 6) {
  while (true) {
    std::string text;
    for (std::size_t count = choices.below(most + 1); count > 0; --count) text += choices.of(kPlainPieces);
    if (text.find("DSML") == std::string::npos && text.find("think>") == std::string::npos) return text;
  }
}

inline JsonValue json_value(Choices& choices, int depth = 3) {
  static constexpr std::array<std::string_view, 10> kNumbers{
      "0", "-1", "12", "1.5", "-0.0", "1e+16", "1e-05", "123456789012345678901234567890", "0.1", "5e-324"};
  switch (choices.below(depth == 0 ? 4 : 6)) {
    case 0:
      return JsonValue{};
    case 1:
      return JsonValue::of(choices.one_in(2));
    case 2: {
      JsonValue number = JsonValue::of(std::int64_t{0});
      number.text = normalise_number(choices.of(kNumbers));
      return number;
    }
    case 3:
      return JsonValue::of(plain_text(choices));
    case 4: {
      JsonValue list = JsonValue::array();
      for (std::size_t count = choices.below(3); count > 0; --count) {
        list.items.push_back(json_value(choices, depth - 1));
      }
      return list;
    }
    default: {
      JsonValue object = JsonValue::object();
      for (std::size_t count = choices.below(3); count > 0; --count) {
        object.add("k" + std::to_string(count), json_value(choices, depth - 1));
      }
      return object;
    }
  }
}

/// A message of the assistant whose texts hold no marker and whose names and keys hold no quote.
inline Message assistant_message(Choices& choices) {
  static constexpr std::array<std::string_view, 6> kNames{"f", "get_weather", "ns::g", "a b", "x>y", "工具"};
  static constexpr std::array<std::string_view, 6> kKeys{"a", "location", "k>", "中", "b\\n", "new\nline"};
  Message message{.role = "assistant"};
  message.content.text = plain_text(choices);
  message.reasoning_content = plain_text(choices);
  for (std::size_t calls = choices.one_in(3) ? 0 : choices.below(4); calls > 0; --calls) {
    JsonValue arguments = JsonValue::object();
    const std::size_t first = choices.below(kKeys.size());
    for (std::size_t i = choices.below(4); i > 0; --i) {
      arguments.add(std::string(kKeys[(first + i) % kKeys.size()]), json_value(choices));
    }
    message.tool_calls.push_back({.name = std::string(choices.of(kNames)), .arguments = to_json(arguments)});
  }
  return message;
}

/// Fragments that model output is made of, right and wrong.
inline constexpr std::array<std::string_view, 44> kFragments{"<｜DSML｜tool_calls>",
                                                             "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n",
                                                             "\n\n<｜DSML｜tool_calls>\n",
                                                             "<｜DSML｜tool_calls \u3000>",
                                                             "</｜DSML｜tool_calls>",
                                                             "</｜DSML｜tool_calls \n>",
                                                             "<｜DSML｜invoke name=\"f\">\n",
                                                             "<｜DSML｜invoke\u00a0name=\"g\" x>",
                                                             "<｜DSML｜invoke",
                                                             " name=\"",
                                                             "</｜DSML｜invoke>",
                                                             "</｜DSML｜invoke>\n",
                                                             "<｜DSML｜parameter name=\"a\" string=\"true\">",
                                                             "<｜DSML｜parameter name=\"b\" string=\"false\">",
                                                             "<｜DSML｜parameter name=\"c\">",
                                                             "<｜DSML｜parameter name=\"d\" string=\"maybe\">",
                                                             "<｜DSML｜parameter  name=\"e\"\tstring=\"false\" >",
                                                             "</｜DSML｜parameter>",
                                                             "</｜DSML｜parameter>\n",
                                                             "</｜DSML｜parameter\u2003>",
                                                             "<｜DSML｜",
                                                             "</｜DSML｜",
                                                             "</｜DSML｜para",
                                                             "｜DSML｜",
                                                             "tool_calls>",
                                                             "<think>",
                                                             "</think>",
                                                             "</thin",
                                                             "`<｜DSML｜tool_calls>` ",
                                                             "\"",
                                                             ">",
                                                             "<",
                                                             "</",
                                                             "<｜",
                                                             "\n",
                                                             "\n\n",
                                                             " ",
                                                             "text",
                                                             "12",
                                                             "[1, {\"a\": \"b\"}]",
                                                             "{'a': 1}",
                                                             "NaN",
                                                             "中文🌙",
                                                             "\u3000"};

}  // namespace hadal::text

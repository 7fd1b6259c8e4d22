#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "ops/step_layout.h"
#include "ops/weight.h"
#include "tensor/tensor.h"

namespace hadal::testing {

/// Converts to anything: counts the members of an aggregate.
struct AnyMember {
  template <class T>
  operator T() const;  // NOLINT(google-explicit-constructor)
};

template <class Aggregate, class... Members>
[[nodiscard]] consteval std::size_t member_count() {
  if constexpr (requires { Aggregate{Members{}..., AnyMember{}}; }) {
    return member_count<Aggregate, Members..., AnyMember>();
  } else {
    return sizeof...(Members);
  }
}

/// Calls visit(view) for every tensor behind one member of an operator's Args, whatever its kind.
void visit_member(const auto& member, auto&& visit) {
  using Member = std::remove_cvref_t<decltype(member)>;
  if constexpr (std::is_same_v<Member, TensorView>) {
    visit(member);
  } else if constexpr (std::is_same_v<Member, ops::Weight>) {
    visit(member.codes);
    visit(member.scales);
  } else if constexpr (std::is_same_v<Member, ops::StepLayout>) {
    for (const TensorView* view : {&member.positions, &member.sequence, &member.first_row, &member.start,
                                   &member.state_slot, &member.page_table}) {
      visit(*view);
    }
  } else if constexpr (std::is_same_v<Member, ops::ExpertWeights>) {
    for (std::int64_t expert = 0; expert < member.count; ++expert) {
      visit_member(member.gate[expert], visit);
      visit_member(member.up[expert], visit);
      visit_member(member.down[expert], visit);
    }
  } else {
    static_assert(std::is_arithmetic_v<Member> || std::is_enum_v<Member>, "a kind of argument that hides tensors");
  }
}

/// Calls visit(view) for every tensor that the arguments of an operator name, absent ones included.
template <class Args>
void for_each_view(const Args& args, auto&& visit) {
  constexpr std::size_t kMembers = member_count<Args>();
  const auto all = [&](const auto&... members) { (visit_member(members, visit), ...); };
  if constexpr (kMembers == 1) {
    const auto& [a] = args;
    all(a);
  } else if constexpr (kMembers == 2) {
    const auto& [a, b] = args;
    all(a, b);
  } else if constexpr (kMembers == 3) {
    const auto& [a, b, c] = args;
    all(a, b, c);
  } else if constexpr (kMembers == 4) {
    const auto& [a, b, c, d] = args;
    all(a, b, c, d);
  } else if constexpr (kMembers == 5) {
    const auto& [a, b, c, d, e] = args;
    all(a, b, c, d, e);
  } else if constexpr (kMembers == 6) {
    const auto& [a, b, c, d, e, f] = args;
    all(a, b, c, d, e, f);
  } else if constexpr (kMembers == 7) {
    const auto& [a, b, c, d, e, f, g] = args;
    all(a, b, c, d, e, f, g);
  } else if constexpr (kMembers == 8) {
    const auto& [a, b, c, d, e, f, g, h] = args;
    all(a, b, c, d, e, f, g, h);
  } else if constexpr (kMembers == 9) {
    const auto& [a, b, c, d, e, f, g, h, i] = args;
    all(a, b, c, d, e, f, g, h, i);
  } else if constexpr (kMembers == 10) {
    const auto& [a, b, c, d, e, f, g, h, i, j] = args;
    all(a, b, c, d, e, f, g, h, i, j);
  } else if constexpr (kMembers == 11) {
    const auto& [a, b, c, d, e, f, g, h, i, j, k] = args;
    all(a, b, c, d, e, f, g, h, i, j, k);
  } else if constexpr (kMembers == 14) {
    const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = args;
    all(a, b, c, d, e, f, g, h, i, j, k, l, m, n);
  } else if constexpr (kMembers == 19) {
    const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s] = args;
    all(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s);
  } else {
    static_assert(kMembers == 20, "add the number of members of the new operator's arguments");
    const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = args;
    all(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t);
  }
}

}  // namespace hadal::testing

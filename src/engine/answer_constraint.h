#pragma once

#include <cstdint>
#include <memory>

#include "engine/sampler.h"

namespace hadal::engine {

/// Holds the part of an answer behind its reasoning to a form: which tokens may come next. What it allows depends on
/// the tokens before alone. One answer each.
class AnswerConstraint {
 public:
  AnswerConstraint() = default;
  AnswerConstraint& operator=(const AnswerConstraint&) = delete;
  virtual ~AnswerConstraint() = default;

  /// The same, for another answer.
  [[nodiscard]] virtual std::unique_ptr<AnswerConstraint> clone() const = 0;
  /// Of the model whose tokens it knows.
  [[nodiscard]] virtual std::int64_t vocab_size() const = 0;
  /// Nothing but a stop token may follow.
  [[nodiscard]] virtual bool complete() const = 0;
  /// Sets what may come next; the spans are valid until the next call. Not called when complete.
  virtual void limit(ChoiceLimits& limits) = 0;
  /// Takes a token. False: it is none of those that may come next, and the constraint is of no use then.
  [[nodiscard]] virtual bool push(std::int64_t token) = 0;

 protected:
  AnswerConstraint(const AnswerConstraint&) = default;
};

}  // namespace hadal::engine

#include <algorithm>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/work.h"
#include "ops/embedding.h"

namespace hadal::cpu {
namespace {

using Args = ops::EmbeddingBackward::Args;

/// The tokens in the order of their ids, equal ids in their own order: a counting sort in caller's memory.
class TokenOrder {
 public:
  TokenOrder(std::byte* memory, const TensorView& tokens, std::int64_t vocabulary) {
    const std::int64_t count = tokens.extent(0);
    const auto* ids = tokens.as<std::int64_t>();
    Carver carver(memory);
    order_ = carver.take<std::int32_t>(count);
    end_ = carver.take<std::int32_t>(vocabulary + 1);
    std::fill_n(end_, vocabulary + 1, 0);
    for (std::int64_t token = 0; token < count; ++token) ++end_[ids[token] + 1];
    for (std::int64_t id = 0; id < vocabulary; ++id) end_[id + 1] += end_[id];
    for (std::int64_t token = 0; token < count; ++token) order_[end_[ids[token]]++] = static_cast<std::int32_t>(token);
  }
  [[nodiscard]] static std::int64_t bytes(std::int64_t count, std::int64_t vocabulary) {
    return padded(count * static_cast<std::int64_t>(sizeof(std::int32_t))) +
           padded((vocabulary + 1) * static_cast<std::int64_t>(sizeof(std::int32_t)));
  }
  [[nodiscard]] std::int64_t token(std::int64_t place) const { return order_[place]; }
  /// Places [begin_of(id), end_of(id)) are those of one id.
  [[nodiscard]] std::int64_t begin_of(std::int64_t id) const { return id == 0 ? 0 : end_[id - 1]; }
  [[nodiscard]] std::int64_t end_of(std::int64_t id) const { return end_[id]; }
  /// The first id whose places begin at `place` or later, at most `vocabulary`.
  [[nodiscard]] std::int64_t first_id_from(std::int64_t place, std::int64_t vocabulary) const {
    if (place == 0) return 0;
    return std::min<std::int64_t>(vocabulary, std::lower_bound(end_, end_ + vocabulary, place) - end_ + 1);
  }

 private:
  std::int32_t* order_;  // [tokens]
  std::int32_t* end_;    // [vocabulary + 1]
};

void enqueue(ops::Stream& stream, const Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t count = args.tokens.extent(0);
  const std::int64_t vocabulary = args.d_table.extent(0);
  const std::int64_t channels = args.d_out.extent(2);
  const TokenOrder order(stream.scratch(), args.tokens, vocabulary);
  // A row of the table belongs to the part in which its first token's place lies.
  for_rows(backend.pool(), count, args.d_out.extent(1) * channels, [&](std::int64_t begin, std::int64_t end, int) {
    const std::int64_t last = order.first_id_from(end, vocabulary);
    for (std::int64_t id = order.first_id_from(begin, vocabulary); id < last; ++id) {
      for (std::int64_t place = order.begin_of(id); place < order.end_of(id); ++place) {
        const float* rows = args.d_out.row<float>(order.token(place));
        for (std::int64_t i = 0; i < args.d_out.extent(1); ++i) {
          backend.kernels().accumulate(rows + i * channels, args.d_table.row<float>(id), channels);
        }
      }
    }
  });
}

}  // namespace

void add_embedding_backward(ops::OpTable& table) {
  table.add<ops::EmbeddingBackward>({.implementation = "cpu",
                                     .supports = [](const Args& args) { return is_f32(args.d_out); },
                                     .scratch_bytes =
                                         [](const ops::Backend&, const Args& args) {
                                           return TokenOrder::bytes(args.tokens.extent(0), args.d_table.extent(0));
                                         },
                                     .enqueue = enqueue});
}

}  // namespace hadal::cpu

#include "ops/attention.h"

#include <algorithm>

#include "backends/cpu/register.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/sequence_state.h"
#include "backends/cpu/work.h"

namespace hadal::cpu {
namespace {

constexpr std::int64_t kHeads = 64;  // heads that share one packing of the keys

std::int64_t key_tile(const CpuBackend& backend) { return 2 * backend.kernels().lanes; }

/// Scores of a head lie this far apart: whole key tiles, and not a power of two.
std::int64_t score_stride(const CpuBackend& backend, std::int64_t max_keys) {
  const std::int64_t tile = key_tile(backend);
  return (max_keys + tile - 1) / tile * tile + 16;
}

/// Working memory of one worker.
struct Scratch {
  const std::byte** keys;  // [max_keys]: rows in canonical order
  float* packed;           // one key tile
  float* scores;           // [heads, stride]

  Scratch(std::byte* memory, const CpuBackend& backend, const ops::Attention::Args& args) {
    Carver carver(memory);
    keys = carver.take<const std::byte*>(args.max_keys);
    packed = carver.take<float>(key_tile(backend) * args.query.extent(2));
    scores = carver.take<float>(std::min(kHeads, args.query.extent(1)) * score_stride(backend, args.max_keys));
  }
};

std::int64_t worker_bytes(const CpuBackend& backend, const ops::Attention::Args& args) {
  constexpr std::int64_t kFloat = sizeof(float);
  const std::int64_t heads = std::min(kHeads, args.query.extent(1));
  return padded(args.max_keys * static_cast<std::int64_t>(sizeof(const std::byte*))) +
         padded(key_tile(backend) * args.query.extent(2) * kFloat) +
         padded(heads * score_stride(backend, args.max_keys) * kFloat);
}

/// Collects the addresses of a query row's keys: window positions ascending, then compressed entries ascending.
std::int64_t list_keys(const ops::Attention::Args& args, std::int64_t token, const std::byte** keys) {
  const SequenceState state = SequenceState::of_row(args.layout, token);
  std::int64_t count = 0;
  const std::int64_t end = args.window_end.as<std::int64_t>()[token];
  for (std::int64_t position = args.window_begin.as<std::int64_t>()[token]; position < end; ++position) {
    keys[count++] = state.row(args.step_keys, args.window, position);
  }
  if (args.ratio == 0) return count;
  if (args.selected.absent()) {
    const std::int64_t visible = (args.layout.positions.as<std::int64_t>()[token] + 1) / args.ratio;
    for (std::int64_t entry = 0; entry < visible; ++entry) keys[count++] = state.entry(args.pages, entry);
    return count;
  }
  const std::int32_t* selected = args.selected.row<std::int32_t>(token);
  for (std::int64_t i = 0; i < args.selected.extent(1) && selected[i] >= 0; ++i) {
    keys[count++] = state.entry(args.pages, selected[i]);
  }
  return count;
}

/// The heads [begin, end) of one query row, at most kHeads.
void attend(const CpuBackend& backend, const ops::Attention::Args& args, std::int64_t token, std::int64_t begin,
            std::int64_t end, std::int64_t keys, const Scratch& scratch) {
  const OperatorKernels& kernels = backend.kernels();
  const bool bf16_keys = is_bf16(args.query);
  const std::int64_t channels = args.query.extent(2);
  const std::int64_t heads = end - begin;
  const std::int64_t stride = score_stride(backend, args.max_keys);
  const std::int64_t tile = key_tile(backend);
  const std::byte* query = element(args.query, token, begin * args.query.stride(1));
  const auto pack = bf16_keys ? kernels.pack_keys_bf16 : kernels.pack_keys;
  const auto score = bf16_keys ? kernels.scores_bf16 : kernels.scores;
  const auto add_values = bf16_keys ? kernels.add_values_bf16 : kernels.add_values;
  for (std::int64_t key = 0; key < keys; key += tile) {
    pack(scratch.keys + key, std::min(tile, keys - key), channels, scratch.packed);
    score(query, args.query.stride(1), heads, scratch.packed, channels, scratch.scores + key, stride);
  }
  float sums[kHeads];
  float maxima[kHeads];
  float* out = args.out.row<float>(token) + begin * args.out.stride(1);
  for (std::int64_t head = 0; head < heads; ++head) {
    sums[head] = kernels.softmax(scratch.scores + head * stride, keys, static_cast<float>(args.scale),
                                 load<float>(args.sink.codes, begin + head), &maxima[head]);
    std::fill_n(out + head * args.out.stride(1), channels, 0.0F);
  }
  if (!args.log_sum.absent()) kernels.log_sums(maxima, sums, args.log_sum.row<float>(token) + begin, heads);
  add_values(scratch.keys, keys, channels, scratch.scores, stride, heads, out, args.out.stride(1));
  for (std::int64_t head = 0; head < heads; ++head) {
    float* row = out + head * args.out.stride(1);
    kernels.divide(row, sums[head], row, channels);
  }
}

void enqueue(ops::Stream& stream, const ops::Attention::Args& args) {
  CpuBackend& backend = backend_of(stream);
  const std::int64_t tokens = args.query.extent(0);
  const std::int64_t heads = args.query.extent(1);
  // Heads of one token are split only where there are fewer tokens than workers keep busy: every part packs the keys.
  constexpr std::int64_t kGroup = 8;
  const std::int64_t group = tokens >= 4 * backend.workers() ? heads : kGroup;
  const std::int64_t groups = (heads + group - 1) / group;
  const std::int64_t work = group * args.query.extent(2) * args.max_keys / 4;
  backend.pool().parallel_for(tokens * groups, grain_of(work), [&](std::int64_t begin, std::int64_t end, int worker) {
    const Scratch scratch(stream.scratch() + worker * worker_bytes(backend, args), backend, args);
    while (begin < end) {
      const std::int64_t token = begin / groups;
      const std::int64_t stop = std::min(end, (token + 1) * groups);
      const std::int64_t last_head = std::min(heads, (stop - token * groups) * group);
      const std::int64_t keys = list_keys(args, token, scratch.keys);
      for (std::int64_t head = begin % groups * group; head < last_head; head += kHeads) {
        attend(backend, args, token, head, std::min(last_head, head + kHeads), keys, scratch);
      }
      begin = stop;
    }
  });
}

bool supports(const ops::Attention::Args& args) { return is_f32_or_bf16(args.query) && is_f32(args.out); }

}  // namespace

void add_attention(ops::OpTable& table) {
  table.add<ops::Attention>({.implementation = "cpu",
                             .supports = supports,
                             .scratch_bytes =
                                 [](const ops::Backend& backend, const ops::Attention::Args& args) {
                                   return worker_bytes(static_cast<const CpuBackend&>(backend), args) *
                                          backend.workers();
                                 },
                             .enqueue = enqueue});
}

}  // namespace hadal::cpu

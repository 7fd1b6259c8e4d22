#include "ops/reference/reference_backend.h"

#include <fmt/core.h>
#include <sys/mman.h>

#include <cstring>

#include "ops/reference/add.h"
#include "ops/reference/add_position_bias.h"
#include "ops/reference/append_entries.h"
#include "ops/reference/argmax.h"
#include "ops/reference/attention.h"
#include "ops/reference/attention_backward.h"
#include "ops/reference/commit_rows.h"
#include "ops/reference/compress.h"
#include "ops/reference/compress_backward.h"
#include "ops/reference/cross_entropy.h"
#include "ops/reference/embedding.h"
#include "ops/reference/gate.h"
#include "ops/reference/gate_backward.h"
#include "ops/reference/gather_rows.h"
#include "ops/reference/grouped_linear.h"
#include "ops/reference/hadamard.h"
#include "ops/reference/hc_head.h"
#include "ops/reference/hc_post.h"
#include "ops/reference/hc_pre.h"
#include "ops/reference/hc_pre_backward.h"
#include "ops/reference/indexer_loss.h"
#include "ops/reference/indexer_select.h"
#include "ops/reference/linear.h"
#include "ops/reference/linear_backward.h"
#include "ops/reference/matrix_product.h"
#include "ops/reference/mean_streams.h"
#include "ops/reference/previous_rows.h"
#include "ops/reference/rms_norm.h"
#include "ops/reference/rope.h"
#include "ops/reference/round_rows.h"
#include "ops/reference/routed_experts.h"
#include "ops/reference/routed_experts_backward.h"
#include "ops/reference/swiglu.h"

namespace hadal::ops {

namespace {

/// Runs everything in the caller's thread before the call returns.
class HostStream final : public Stream {
 public:
  using Stream::Stream;

 private:
  void do_upload(void* device, const void* host, std::int64_t bytes) override { do_copy(device, host, bytes); }
  void do_download(void* host, const void* device, std::int64_t bytes) override { do_copy(host, device, bytes); }
  void do_copy(void* to, const void* from, std::int64_t bytes) override {
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
  }
  void do_wait() override {}
  void do_record(Event& /*event*/) override {}
  void do_wait_for(const Event& /*event*/) override {}
};

template <class Op>
using Function = void (*)(const typename Op::Args& args, reference::Scratch scratch);

template <class Op, Function<Op> kFloat, Function<Op> kDouble>
void add(OpTable& table) {
  using Args = typename Op::Args;
  table.add<Op>({.implementation = "reference",
                 .supports = [](const Args&) { return true; },
                 .scratch_bytes = [](const Backend&, const Args& args) { return reference::scratch_bytes(args); },
                 .enqueue =
                     [](Stream& stream, const Args& args) {
                       const reference::Scratch scratch(stream.scratch());
                       if (reference::uses_f64(args)) {
                         kDouble(args, scratch);
                       } else {
                         kFloat(args, scratch);
                       }
                     }});
}

void unmap(void*, void* data, std::int64_t bytes) { munmap(data, static_cast<std::size_t>(bytes)); }

}  // namespace

ReferenceBackend::ReferenceBackend() {
  add<Add, reference::add<float>, reference::add<double>>(table_);
  add<AddPositionBias, reference::add_position_bias<float>, reference::add_position_bias<double>>(table_);
  add<AddPositionBiasBackward, reference::add_position_bias_backward<float>,
      reference::add_position_bias_backward<double>>(table_);
  add<AppendEntries, reference::append_entries<float>, reference::append_entries<double>>(table_);
  add<Argmax, reference::argmax<float>, reference::argmax<double>>(table_);
  add<Attention, reference::attention<float>, reference::attention<double>>(table_);
  add<AttentionBackward, reference::attention_backward<float>, reference::attention_backward<double>>(table_);
  add<CommitRows, reference::commit_rows<float>, reference::commit_rows<double>>(table_);
  add<Compress, reference::compress<float>, reference::compress<double>>(table_);
  add<CompressBackward, reference::compress_backward<float>, reference::compress_backward<double>>(table_);
  add<CrossEntropy, reference::cross_entropy<float>, reference::cross_entropy<double>>(table_);
  add<Embedding, reference::embedding<float>, reference::embedding<double>>(table_);
  add<EmbeddingBackward, reference::embedding_backward<float>, reference::embedding_backward<double>>(table_);
  add<Gate, reference::gate<float>, reference::gate<double>>(table_);
  add<GateBackward, reference::gate_backward<float>, reference::gate_backward<double>>(table_);
  add<GatherRows, reference::gather_rows<float>, reference::gather_rows<double>>(table_);
  add<GatherRowsBackward, reference::gather_rows_backward<float>, reference::gather_rows_backward<double>>(table_);
  add<GroupedLinear, reference::grouped_linear<float>, reference::grouped_linear<double>>(table_);
  add<GroupedLinearBackward, reference::grouped_linear_backward<float>, reference::grouped_linear_backward<double>>(
      table_);
  add<Hadamard, reference::hadamard<float>, reference::hadamard<double>>(table_);
  add<HcHead, reference::hc_head<float>, reference::hc_head<double>>(table_);
  add<HcHeadBackward, reference::hc_head_backward<float>, reference::hc_head_backward<double>>(table_);
  add<HcPost, reference::hc_post<float>, reference::hc_post<double>>(table_);
  add<HcPostBackward, reference::hc_post_backward<float>, reference::hc_post_backward<double>>(table_);
  add<HcPre, reference::hc_pre<float>, reference::hc_pre<double>>(table_);
  add<HcPreBackward, reference::hc_pre_backward<float>, reference::hc_pre_backward<double>>(table_);
  add<IndexerLoss, reference::indexer_loss<float>, reference::indexer_loss<double>>(table_);
  add<IndexerSelect, reference::indexer_select<float>, reference::indexer_select<double>>(table_);
  add<Linear, reference::linear<float>, reference::linear<double>>(table_);
  add<LinearBackward, reference::linear_backward<float>, reference::linear_backward<double>>(table_);
  add<MatrixProduct, reference::matrix_product<float>, reference::matrix_product<double>>(table_);
  add<MeanStreams, reference::mean_streams<float>, reference::mean_streams<double>>(table_);
  add<MeanStreamsBackward, reference::mean_streams_backward<float>, reference::mean_streams_backward<double>>(table_);
  add<PreviousRows, reference::previous_rows<float>, reference::previous_rows<double>>(table_);
  add<PreviousRowsBackward, reference::previous_rows_backward<float>, reference::previous_rows_backward<double>>(
      table_);
  add<RmsNorm, reference::rms_norm<float>, reference::rms_norm<double>>(table_);
  add<RmsNormBackward, reference::rms_norm_backward<float>, reference::rms_norm_backward<double>>(table_);
  add<Rope, reference::rope<float>, reference::rope<double>>(table_);
  add<RoundRows, reference::round_rows<float>, reference::round_rows<double>>(table_);
  add<RoutedExperts, reference::routed_experts<float>, reference::routed_experts<double>>(table_);
  add<RoutedExpertsBackward, reference::routed_experts_backward<float>, reference::routed_experts_backward<double>>(
      table_);
  add<Swiglu, reference::swiglu<float>, reference::swiglu<double>>(table_);
  add<SwigluBackward, reference::swiglu_backward<float>, reference::swiglu_backward<double>>(table_);
}

Result<Buffer> ReferenceBackend::allocate(std::int64_t bytes) {
  if (bytes == 0) return Buffer();
  void* const data =
      mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("the system refused {} bytes of memory; lower the context length or the batch", bytes));
  }
  return Buffer(data, bytes, unmap, nullptr);
}

std::unique_ptr<Stream> ReferenceBackend::create_stream() { return std::make_unique<HostStream>(*this); }

}  // namespace hadal::ops

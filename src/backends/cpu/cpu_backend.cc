#include "backends/cpu/cpu_backend.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/register.h"

namespace hadal::cpu {
namespace {

constexpr std::int64_t kSmallPage = std::int64_t{4} << 10;
constexpr std::int64_t kHugePage = std::int64_t{2} << 20;

/// Bytes that are mapped for a request: whole pages of the size that it will use.
std::int64_t mapped_bytes(std::int64_t bytes) {
  const std::int64_t page = bytes >= kHugePage ? kHugePage : kSmallPage;
  return (bytes + page - 1) / page * page;
}

void unmap(void* /*context*/, void* data, std::int64_t bytes) {
  ::munmap(data, static_cast<std::size_t>(mapped_bytes(bytes)));
}

/// Runs everything on the thread that enqueues it, before the call returns.
class CpuStream final : public ops::Stream {
 public:
  using Stream::Stream;

 private:
  void do_upload(void* device, const void* host, std::int64_t bytes) override {
    std::memcpy(device, host, static_cast<std::size_t>(bytes));
  }
  void do_download(void* host, const void* device, std::int64_t bytes) override {
    std::memcpy(host, device, static_cast<std::size_t>(bytes));
  }
  void do_copy(void* to, const void* from, std::int64_t bytes) override {
    std::memcpy(to, from, static_cast<std::size_t>(bytes));
  }
  void do_wait() override {}
  void do_record(ops::Event& /*event*/) override {}
  void do_wait_for(const ops::Event& /*event*/) override {}
};

}  // namespace

Result<std::unique_ptr<CpuBackend>> CpuBackend::create(int threads, std::string_view isa) {
  if (threads < 1) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("the CPU backend needs at least 1 thread, got {}", threads));
  }
  HADAL_ASSIGN(const KernelTable* products, isa.empty() ? cpu::kernels() : kernel_table(isa));
  return std::unique_ptr<CpuBackend>(new CpuBackend(threads, *products));
}

CpuBackend::CpuBackend(int threads, const KernelTable& products)
    : products_(products),
      kernels_(operator_kernels(products.isa)),
      block_kernels_(cpu::block_kernels(products.isa)),
      pool_(threads) {
  add_add(ops_);
  add_add_position_bias(ops_);
  add_append_entries(ops_);
  add_argmax(ops_);
  add_attention(ops_);
  add_attention_backward(ops_);
  add_commit_rows(ops_);
  add_compress(ops_);
  add_compress_backward(ops_);
  add_cross_entropy(ops_);
  add_embedding(ops_);
  add_embedding_backward(ops_);
  add_gate(ops_);
  add_gate_backward(ops_);
  add_gather_rows(ops_);
  add_grouped_linear(ops_);
  add_hadamard(ops_);
  add_hc_head(ops_);
  add_hc_head_backward(ops_);
  add_hc_post(ops_);
  add_hc_post_backward(ops_);
  add_hc_pre(ops_);
  add_hc_pre_backward(ops_);
  add_indexer_loss(ops_);
  add_indexer_select(ops_);
  add_linear(ops_);
  add_linear_backward(ops_);
  add_matrix_product(ops_);
  add_mean_streams(ops_);
  add_previous_rows(ops_);
  add_rms_norm(ops_);
  add_rms_norm_backward(ops_);
  add_rope(ops_);
  add_round_rows(ops_);
  add_routed_experts(ops_);
  add_routed_experts_backward(ops_);
  add_swiglu(ops_);
  add_swiglu_backward(ops_);
}

Result<Buffer> CpuBackend::allocate(std::int64_t bytes) {
  if (bytes <= 0) return Buffer();
  const std::int64_t wanted = mapped_bytes(bytes);
  const std::int64_t slack = wanted >= kHugePage ? kHugePage : 0;
  void* raw = ::mmap(nullptr, static_cast<std::size_t>(wanted + slack), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw == MAP_FAILED) {
    return fail(
        ErrorCode::kResourceExhausted,
        fmt::format("cannot map {} bytes of memory: {}; ask for less or free some", bytes, std::strerror(errno)));
  }
  auto* data = static_cast<std::byte*>(raw);
  if (slack != 0) {
    // Cut the mapping down to one that starts on a huge page, so that all of it can lie in huge pages.
    const auto misaligned = static_cast<std::int64_t>(std::bit_cast<std::uintptr_t>(data) % kHugePage);
    const std::int64_t head = misaligned == 0 ? 0 : kHugePage - misaligned;
    if (head > 0) ::munmap(data, static_cast<std::size_t>(head));
    ::munmap(data + head + wanted, static_cast<std::size_t>(slack - head));
    data += head;
    ::madvise(data, static_cast<std::size_t>(wanted), MADV_HUGEPAGE);  // only advice: small pages work too
  }
  return Buffer(data, bytes, unmap, nullptr);
}

std::unique_ptr<ops::Stream> CpuBackend::create_stream() { return std::make_unique<CpuStream>(*this); }

}  // namespace hadal::cpu

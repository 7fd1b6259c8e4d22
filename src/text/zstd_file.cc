#include "text/zstd_file.h"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <memory>

#include "base/mapped_file.h"

namespace hadal::text {
namespace {

struct Freeing {
  void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
};

}  // namespace

Result<std::string> read_zstd_file(const std::filesystem::path& path, std::int64_t limit) {
  HADAL_ASSIGN(const std::string packed, read_file(path, limit));
  const std::unique_ptr<ZSTD_DStream, Freeing> stream(ZSTD_createDStream());
  if (stream == nullptr) return fail(ErrorCode::kResourceExhausted, path.string() + ": no memory to unpack it");
  const auto most = static_cast<std::size_t>(limit);
  const std::size_t step = ZSTD_DStreamOutSize();
  std::string out;
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  std::size_t expects = 1;  // 0 at the end of a frame
  while (in.pos < in.size || expects != 0) {
    const std::size_t done = out.size();
    // One byte more than allowed is asked for, so that a file beyond the limit shows itself.
    out.resize(done + std::min(step, most + 1 - done));
    ZSTD_outBuffer buffer{out.data() + done, out.size() - done, 0};
    const std::size_t read_before = in.pos;
    expects = ZSTD_decompressStream(stream.get(), &buffer, &in);
    if (ZSTD_isError(expects) != 0) {
      return fail(ErrorCode::kCorrupt, fmt::format("{}: is not a sound zstd file ({}); fetch it again", path.string(),
                                                   ZSTD_getErrorName(expects)));
    }
    out.resize(done + buffer.pos);
    if (out.size() > most) {
      return fail(
          ErrorCode::kResourceExhausted,
          fmt::format("{}: unpacks to more than the {} bytes that are read of such a file", path.string(), limit));
    }
    if (expects != 0 && in.pos == read_before && buffer.pos == 0) {
      return fail(ErrorCode::kCorrupt, fmt::format("{}: is cut short; fetch it again", path.string()));
    }
  }
  return out;
}

}  // namespace hadal::text

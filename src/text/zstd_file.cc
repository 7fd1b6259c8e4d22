#include "text/zstd_file.h"

#include <fmt/format.h>
#include <zstd.h>

#include <algorithm>
#include <utility>

namespace hadal::text {
namespace {

struct Freeing {
  void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
};

}  // namespace

struct ZstdReader::State {
  MappedFile file;
  std::unique_ptr<ZSTD_DStream, Freeing> stream;
  ZSTD_inBuffer in{};
  std::size_t expects = 1;  // 0 at the end of a frame
};

ZstdReader::ZstdReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
ZstdReader::ZstdReader(ZstdReader&&) noexcept = default;
ZstdReader::~ZstdReader() = default;

Result<ZstdReader> ZstdReader::open(const std::filesystem::path& path) {
  auto state = std::make_unique<State>();
  HADAL_ASSIGN(state->file, MappedFile::open(path));
  state->stream.reset(ZSTD_createDStream());
  if (state->stream == nullptr) return fail(ErrorCode::kResourceExhausted, path.string() + ": no memory to unpack it");
  state->in = {state->file.bytes().data(), state->file.bytes().size(), 0};
  return ZstdReader(std::move(state));
}

Status ZstdReader::read(std::size_t most, std::string& out) {
  State& s = *state_;
  const std::string name = s.file.path().string();
  const std::size_t done = out.size();
  out.resize(done + most);
  ZSTD_outBuffer buffer{out.data() + done, most, 0};
  while (buffer.pos == 0 && (s.in.pos < s.in.size || s.expects != 0)) {
    const std::size_t read_before = s.in.pos;
    s.expects = ZSTD_decompressStream(s.stream.get(), &buffer, &s.in);
    if (ZSTD_isError(s.expects) != 0) {
      out.resize(done);
      return fail(ErrorCode::kCorrupt,
                  fmt::format("{}: is not a sound zstd file ({}); fetch it again", name, ZSTD_getErrorName(s.expects)));
    }
    if (s.expects != 0 && s.in.pos == read_before && buffer.pos == 0) {
      out.resize(done);
      return fail(ErrorCode::kCorrupt, fmt::format("{}: is cut short; fetch it again", name));
    }
  }
  out.resize(done + buffer.pos);
  return {};
}

Result<std::string> read_zstd_file(const std::filesystem::path& path, std::int64_t limit) {
  HADAL_ASSIGN(ZstdReader reader, ZstdReader::open(path));
  const auto most = static_cast<std::size_t>(limit);
  std::string out;
  for (std::size_t done = std::string::npos; done != out.size();) {
    done = out.size();
    // One byte more than allowed is asked for, so that a file beyond the limit shows itself.
    HADAL_TRY(reader.read(std::min(ZSTD_DStreamOutSize(), most + 1 - done), out));
    if (out.size() > most) {
      return fail(
          ErrorCode::kResourceExhausted,
          fmt::format("{}: unpacks to more than the {} bytes that are read of such a file", path.string(), limit));
    }
  }
  return out;
}

}  // namespace hadal::text

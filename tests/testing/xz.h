#pragma once

#include <lzma.h>

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace hadal::testing_support {

/// The content of an .xz file's bytes.
inline std::string decompress_xz(const std::string& compressed) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, std::numeric_limits<std::uint64_t>::max(), 0) != LZMA_OK) {
    throw std::runtime_error("cannot start the xz decoder");
  }
  const std::basic_string<std::uint8_t> input(compressed.begin(), compressed.end());
  std::basic_string<std::uint8_t> block(std::size_t{1} << 16, 0);
  std::string result;
  stream.next_in = input.data();
  stream.avail_in = input.size();
  lzma_ret status = LZMA_OK;
  while (status == LZMA_OK) {
    stream.next_out = block.data();
    stream.avail_out = block.size();
    status = lzma_code(&stream, LZMA_FINISH);
    result.append(block.begin(), block.end() - static_cast<std::ptrdiff_t>(stream.avail_out));
  }
  lzma_end(&stream);
  if (status != LZMA_STREAM_END) throw std::runtime_error("the xz data are damaged");
  return result;
}

}  // namespace hadal::testing_support

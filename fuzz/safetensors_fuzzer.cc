#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "formats/safetensors.h"

/// A safetensors file: any bytes are read or refused with a reason; every tensor that is read lies inside the file and
/// has as many bytes as its type and shape say.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  const auto header = hadal::formats::parse_safetensors_header(file, static_cast<std::int64_t>(size), "file");
  if (!header) {
    HADAL_CHECK(!header.error().message.empty(), "an error has a message");
    return 0;
  }
  for (const hadal::formats::TensorInfo& tensor : header->tensors) {
    HADAL_CHECK(tensor.begin >= 0 && tensor.begin <= tensor.end, "a tensor's range has an order");
    HADAL_CHECK(tensor.end <= static_cast<std::int64_t>(size), "a tensor ends inside the file");
    HADAL_CHECK(tensor.end - tensor.begin == tensor.shape.elements() * size_of(tensor.type),
                "a tensor's range has its size");
  }
  return 0;
}

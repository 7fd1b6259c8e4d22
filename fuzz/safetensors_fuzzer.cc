#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "formats/safetensors.h"
#include "formats/safetensors_writer.h"

/// A safetensors file: any bytes are read or refused with a reason; every tensor that is read lies inside the file and
/// has as many bytes as its type and shape say; the same tensors written anew are read as they were.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  const auto header = hadal::formats::parse_safetensors_header(file, static_cast<std::int64_t>(size), "file");
  if (!header) {
    HADAL_CHECK(!header.error().message.empty(), "an error has a message");
    return 0;
  }
  std::int64_t covered = 0;
  std::vector<hadal::formats::TensorSpec> specs;
  for (const hadal::formats::TensorInfo& tensor : header->tensors) {
    HADAL_CHECK(tensor.begin >= 0 && tensor.begin <= tensor.end, "a tensor's range has an order");
    HADAL_CHECK(tensor.end <= static_cast<std::int64_t>(size), "a tensor ends inside the file");
    HADAL_CHECK(tensor.end - tensor.begin == tensor.shape.elements() * size_of(tensor.type),
                "a tensor's range has its size");
    covered += tensor.end - tensor.begin;
    specs.push_back({tensor.name, tensor.type, tensor.shape});
  }
  HADAL_CHECK(8 + header->header_bytes + covered + header->unused_bytes == static_cast<std::int64_t>(size),
              "no two tensors share a byte, and every byte is accounted for");
  std::string written = hadal::formats::safetensors_header(specs);
  written.resize(written.size() + static_cast<std::size_t>(covered));
  const auto again = hadal::formats::parse_safetensors_header(std::as_bytes(std::span(written)),
                                                              static_cast<std::int64_t>(written.size()), "again");
  HADAL_CHECK(again && again->tensors.size() == specs.size(), "what is written is read");
  for (std::size_t i = 0; i < specs.size(); ++i) {
    HADAL_CHECK(again->tensors[i].name == specs[i].name && again->tensors[i].type == specs[i].type &&
                    again->tensors[i].shape == specs[i].shape,
                "an entry is read as it was written");
  }
  return 0;
}

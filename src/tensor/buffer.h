#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace hadal {

/// Owns one piece of a backend's memory; the memory is given back with the object. The address may be one that only
/// the backend can use.
class Buffer {
 public:
  using Release = void (*)(void* context, void* data, std::int64_t bytes);

  Buffer() = default;
  Buffer(void* data, std::int64_t bytes, Release release, void* context)
      : data_(data), bytes_(bytes), release_(release), context_(context) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
    std::swap(context_, other.context_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (release_ != nullptr && data_ != nullptr) release_(context_, data_, bytes_);
  }

  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(data_); }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::int64_t bytes_ = 0;
  Release release_ = nullptr;
  void* context_ = nullptr;
};

}  // namespace hadal

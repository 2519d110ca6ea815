#pragma once
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>

#include "lib/base/error.h"

namespace lq {

/// Reads little-endian fields from bytes that nobody has checked yet. Every read is bounds-checked;
/// a short file throws Error(input) that names the file, the offset and the field.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, std::string name)
      : bytes_(bytes), name_(std::move(name)) {}

  template <class T>
  T read(const char* field) {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, take(sizeof value, field).data(), sizeof value);
    return value;
  }

  std::span<const std::byte> take(std::uint64_t n, const char* field) {
    if (n > left())
      fail(ErrorKind::input, name_, ": truncated at byte ", at_, ": ", field, " needs ", n,
           " bytes, ", left(), " left");
    const auto part = bytes_.subspan(at_, n);
    at_ += n;
    return part;
  }

  std::size_t position() const { return at_; }
  std::size_t left() const { return bytes_.size() - at_; }
  const std::string& name() const { return name_; }

 private:
  std::span<const std::byte> bytes_;
  std::string name_;
  std::size_t at_ = 0;
};

}  // namespace lq

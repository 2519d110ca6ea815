#pragma once
// Calls of the operating system on open files, with errors that name the file.
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "lib/base/error.h"

namespace lq {

/// An open file; closes it. -1 is none.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : number_(other.take()) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    if (this != &other) reset(other.take());
    return *this;
  }

  int get() const { return number_; }
  explicit operator bool() const { return number_ >= 0; }
  void reset(int number = -1) noexcept;
  int take() noexcept {
    const int number = number_;
    number_ = -1;
    return number;
  }

 private:
  int number_ = -1;
};

/// Throws Error(file): "name: cannot <action>: <reason of errno>".
[[noreturn]] void fail_errno(const std::string& name, std::string_view action, int error = errno);

/// Opens for reading. Throws Error(file).
Descriptor open_for_reading(const std::filesystem::path& path);

/// Up to into.size() bytes; 0 at the end. Throws Error(file).
std::size_t read_some(int descriptor, std::span<std::byte> into, const std::string& name);
/// Fills `into` from `offset`. Throws Error(file), also when the file ends before.
void read_all_at(int descriptor, std::span<std::byte> into, std::uint64_t offset,
                 const std::string& name);
/// All of `bytes`, at the descriptor's position. Throws Error(file).
void write_all(int descriptor, std::span<const std::byte> bytes, const std::string& name);
/// All of `bytes`, at `offset`. Throws Error(file).
void write_all_at(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset,
                  const std::string& name);

/// A file without a name in the directory for temporary files ($TMPDIR or /tmp), for reading and
/// writing; gone when closed. Throws Error(file).
Descriptor open_unnamed_temporary();

}  // namespace lq

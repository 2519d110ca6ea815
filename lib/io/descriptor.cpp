#include "lib/io/descriptor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

namespace lq {
namespace {

/// The kernel takes at most about 2 GiB in one call; shorter pieces also let signals through.
constexpr std::size_t kMaxCall = std::size_t{1} << 30;

}  // namespace

void Descriptor::reset(int number) noexcept {
  if (number_ >= 0) ::close(number_);
  number_ = number;
}

void fail_errno(const std::string& name, std::string_view action, int error) {
  std::string text = std::generic_category().message(error);
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] | 32);
  fail(ErrorKind::file, name, ": cannot ", action, ": ", text);
}

Descriptor open_for_reading(const std::filesystem::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) fail_errno(path.string(), "open");
  return file;
}

std::size_t read_some(int descriptor, std::span<std::byte> into, const std::string& name) {
  for (;;) {
    const ssize_t n = ::read(descriptor, into.data(), std::min(into.size(), kMaxCall));
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) fail_errno(name, "read");
  }
}

void read_all_at(int descriptor, std::span<std::byte> into, std::uint64_t offset,
                 const std::string& name) {
  while (!into.empty()) {
    const ssize_t n = ::pread(descriptor, into.data(), std::min(into.size(), kMaxCall),
                              static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(name, "read");
    if (n == 0) fail(ErrorKind::file, name, ": ends at byte ", offset, ", too early");
    into = into.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
}

void write_all(int descriptor, std::span<const std::byte> bytes, const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(descriptor, bytes.data(), std::min(bytes.size(), kMaxCall));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(name, "write");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void write_all_at(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset,
                  const std::string& name) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(descriptor, bytes.data(), std::min(bytes.size(), kMaxCall),
                               static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_errno(name, "write");
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
}

Descriptor open_unnamed_temporary() {
  std::error_code ignored;
  std::filesystem::path directory = std::filesystem::temp_directory_path(ignored);
  if (directory.empty()) directory = "/tmp";
  Descriptor file(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file) return file;
  std::string name = (directory / "lq-XXXXXX").string();
  file.reset(::mkostemp(name.data(), O_CLOEXEC));
  if (!file) fail_errno(directory.string(), "create a temporary file");
  ::unlink(name.c_str());
  return file;
}

}  // namespace lq

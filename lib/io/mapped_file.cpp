#include "lib/io/mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "lib/base/error.h"
#include "lib/io/zstd_stream.h"

namespace lq {
namespace {

/// Throws unless the file is a regular one. Asked before opening: a FIFO would block.
void check_kind(const struct stat& status, const std::string& name) {
  if (S_ISREG(status.st_mode)) return;
  if (S_ISDIR(status.st_mode))
    fail(ErrorKind::file, name, ": cannot read: it is a directory; expected a file");
  fail(ErrorKind::file, name,
       ": cannot map: it is not a regular file; save its content to a file first");
}

struct Opened {
  Descriptor file;
  struct stat status {};
};

/// Opens a regular file.
Opened open_regular(const std::filesystem::path& path, const std::string& name) {
  Opened opened;
  if (::stat(path.c_str(), &opened.status) != 0) fail_errno(name, "open");
  check_kind(opened.status, name);
  opened.file = open_for_reading(path);
  if (::fstat(opened.file.get(), &opened.status) != 0) fail_errno(name, "read the size");
  check_kind(opened.status, name);
  return opened;
}

struct Expanded {
  Descriptor file;
  std::uint64_t size = 0;
};

/// Expands the zstd content of `file` into an unnamed temporary file.
Expanded expand(int file, std::uint64_t compressed_bytes, const std::string& name) {
  Expanded out{open_unnamed_temporary()};
  const std::string action = name + ": expanded copy in the directory for temporary files";
  const std::uint64_t limit = expansion_limit(compressed_bytes);
  const ByteSink sink = [&](std::span<const std::byte> bytes) {
    out.size += bytes.size();
    if (out.size > limit)
      fail(ErrorKind::input, name, ": expands to more than ", limit, " bytes from ",
           compressed_bytes, "; expand it with zstd -d if that is right");
    write_all(out.file.get(), bytes, action);
  };
  ZstdExpander expander(name);
  std::vector<std::byte> piece(1 << 17);
  while (const std::size_t n = read_some(file, piece, name))
    expander.feed(std::span(piece).first(n), sink);
  expander.finish();
  return out;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : name_(path.string()) {
  auto [file, status] = open_regular(path, name_);
  identity_ = {status.st_dev, status.st_ino};
  auto size = static_cast<std::uint64_t>(status.st_size);

  std::array<std::byte, 4> head{};
  const ssize_t n_head = ::pread(file.get(), head.data(), head.size(), 0);
  if (n_head < 0) fail_errno(name_, "read");
  if (is_zstd(std::span(head).first(static_cast<std::size_t>(n_head)))) {
    Expanded expanded = expand(file.get(), size, name_);
    file = std::move(expanded.file);
    size = expanded.size;
  }
  if (size == 0) return;
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) fail_errno(name_, "map");
  bytes_ = {static_cast<const std::byte*>(memory), size};
  file_ = std::move(file);
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : name_(std::move(other.name_)),
      file_(std::move(other.file_)),
      bytes_(std::exchange(other.bytes_, {})),
      identity_(other.identity_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(file_, other.file_);
  std::swap(bytes_, other.bytes_);
  std::swap(identity_, other.identity_);
  return *this;
}

void MappedFile::read(std::span<const std::byte> part, std::span<std::byte> into) const {
  LQ_ASSERT(part.size() == into.size());
  read_all_at(file_.get(), into, static_cast<std::uint64_t>(part.data() - bytes_.data()), name_);
}

void MappedFile::release(std::span<const std::byte> part) const noexcept {
  // Only whole pages within `part`: the rest may be in use by someone else.
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) & ~(page - 1);
  const auto end = reinterpret_cast<std::uintptr_t>(part.data() + part.size()) & ~(page - 1);
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

std::vector<std::byte> read_head(const std::filesystem::path& path, std::size_t n_bytes) {
  const std::string name = path.string();
  const Opened opened = open_regular(path, name);
  std::vector<std::byte> head(n_bytes);
  head.resize(read_some(opened.file.get(), head, name));
  if (!is_zstd(head)) return head;
  // Little by little: a few compressed bytes may stand for very many.
  std::vector<std::byte> expanded, piece = head;
  ZstdExpander expander(name);
  while (!piece.empty() && expanded.size() < n_bytes) {
    expander.feed(piece, [&](std::span<const std::byte> bytes) {
      const auto wanted = bytes.first(std::min(bytes.size(), n_bytes - expanded.size()));
      expanded.insert(expanded.end(), wanted.begin(), wanted.end());
    });
    piece.resize(64);
    piece.resize(read_some(opened.file.get(), piece, name));
  }
  return expanded;
}

}  // namespace lq

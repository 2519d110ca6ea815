#pragma once
// A whole file as read-only memory.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lib/io/descriptor.h"

namespace lq {

/// Maps a regular file. A file compressed with zstd (by its first bytes) is expanded into an
/// unnamed temporary file and that is mapped, so that every reader takes `.zst` without knowing it.
/// Throws Error(file) when the file cannot be opened or is not a regular file, Error(input) when
/// compressed content is damaged or expands without measure (expansion_limit()). Nothing is read
/// before it is used.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const std::string& name() const { return name_; }            ///< the path as given, for messages
  std::span<const std::byte> bytes() const { return bytes_; }  ///< empty for an empty file
  /// Copies `part` of bytes() without making it resident: for those who go through a large file
  /// once, faster than touching its pages. Throws Error(file).
  void read(std::span<const std::byte> part, std::span<std::byte> into) const;
  /// Tells the kernel that `part` of bytes() is not needed for now, so that it does not count as
  /// resident.
  void release(std::span<const std::byte> part) const noexcept;
  /// Device and inode of the file, to tell whether two paths are the same file.
  std::pair<std::uint64_t, std::uint64_t> identity() const { return identity_; }

 private:
  std::string name_;
  Descriptor file_;
  std::span<const std::byte> bytes_;
  std::pair<std::uint64_t, std::uint64_t> identity_;
};

/// The first bytes of a regular file (expanded if it is compressed), at most `n_bytes`. Throws as
/// MappedFile does.
std::vector<std::byte> read_head(const std::filesystem::path& path, std::size_t n_bytes);

}  // namespace lq

#pragma once
// An output file that appears whole or not at all.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace lq {

/// What to do when the output's name is taken.
enum class Existing { refuse, replace };

/// Writes to an unnamed file in the output's directory (a named temporary where the file system has
/// no unnamed ones); commit() syncs it and gives it its name in one step. Without commit() nothing
/// is left, even when the process is killed. Outputs that are not regular files (/dev/stdout, a
/// pipe, /dev/null) are written directly, in order. All methods throw Error(file).
class AtomicFile {
 public:
  AtomicFile(const std::filesystem::path& path, Existing existing);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::string& name() const { return name_; }
  /// Reserves disk space, so that a full disk is reported before the work.
  void reserve(std::uint64_t n_bytes);
  void append(std::span<const std::byte> bytes);
  /// Safe from several threads at once for disjoint ranges. Not for outputs that are not regular
  /// files.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  bool seekable() const { return seekable_; }
  void commit();

 private:
  std::string name_;
  std::filesystem::path path_, temporary_;
  Existing existing_;
  int descriptor_ = -1;
  bool seekable_ = true;
};

/// Throws Error(usage) if `output` is the same file as `input` (by device and inode), or
/// Error(file) if it exists and may not be replaced. Called before any work is done.
void check_output(const std::filesystem::path& output, Existing existing,
                  std::span<const std::filesystem::path> inputs);

}  // namespace lq

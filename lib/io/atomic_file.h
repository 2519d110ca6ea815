#pragma once
// An output file that appears whole or not at all.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "lib/base/parallel.h"
#include "lib/io/descriptor.h"

namespace lq {

/// What to do when the output's name is taken.
enum class Existing { refuse, replace };

/// What a writer that is stopped leaves behind: nothing, or its work under partial_path().
enum class Leave { nothing, partial };

/// "OUT.lq-partial" beside the file that `output` leads to.
std::filesystem::path partial_path(const std::filesystem::path& output);

/// Writes to an unnamed file in the output's directory (a named temporary where the file system has
/// no unnamed ones); commit() syncs it and gives it its name in one step. Without commit() nothing
/// is left, even when the process is killed. A symbolic link is followed, and a replaced file's
/// permissions are kept. Outputs that are not regular files (/dev/stdout, a pipe, /dev/null) take
/// append() directly; what write_at() gives them is collected in an unnamed temporary file and
/// passed on by commit(). Use one of the two per file. A regular file whose name ends in `.zst` is
/// compressed by commit(); until then its content is collected, too. With Leave::partial the file
/// has the name partial_path() until commit(), is found there again by the next writer, and has to
/// be a regular one that is not compressed. All methods throw Error(file).
class AtomicFile {
 public:
  AtomicFile(const std::filesystem::path& path, Existing existing, Leave leave = Leave::nothing);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::string& name() const { return name_; }
  /// Reserves disk space, so that a full disk is reported before the work. The file is at least
  /// this long from then on, with zeros where nothing is written.
  void reserve(std::uint64_t n_bytes);
  void append(std::span<const std::byte> bytes);
  /// Safe from several threads at once for disjoint ranges. An output that is not seekable() needs
  /// reserve() first.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  /// Bytes written before, by this writer or an earlier one: zeros where nothing was.
  void read_at(std::uint64_t offset, std::span<std::byte> into) const;
  /// False for outputs that are not regular files.
  bool seekable() const { return !direct_; }
  /// Gives the file its name before commit(), so that others can read what it holds. For an
  /// ordinary file in a folder that is itself not in its place yet: the name stays when commit() is
  /// not reached.
  void give_name();
  void commit();

 private:
  void open_direct();
  void open_temporary();
  void open_partial();
  void compress();
  void pass_on();

  std::string name_;                 ///< as given, for messages
  std::filesystem::path path_;       ///< where the file will be: links resolved
  std::filesystem::path temporary_;  ///< of a named temporary; empty for an unnamed one
  Existing existing_;
  bool keep_ = false;                       ///< temporary_ stays when commit() is not reached
  Descriptor file_;                         ///< what append() and write_at() write to
  Descriptor direct_;                       ///< an output that is not a regular file
  Descriptor packed_;                       ///< what file_ is compressed to
  bool named_ = false;                      ///< give_name() was called
  bool collect_ = false;                    ///< file_ is to be copied to direct_
  std::atomic<std::uint64_t> written_ = 0;  ///< bytes that write_at() got
  std::once_flag write_back_begun_;
  std::unique_ptr<Background> write_back_;  ///< tells the disk to begin with file_
};

/// Throws Error(usage) if `output` is the same file as one of `inputs` (by device and inode, so
/// links are seen through), or Error(file) if it is a directory, or exists and may not be replaced,
/// or its directory is missing. Called before any work is done.
void check_output(const std::filesystem::path& output, Existing existing,
                  std::span<const std::filesystem::path> inputs);

/// Throws Error(usage) for outputs that Leave::partial cannot have: devices, pipes, `.zst`.
void check_resumable(const std::filesystem::path& output);

}  // namespace lq

#include "lib/io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <random>
#include <vector>

#include "lib/base/error.h"
#include "lib/io/zstd_stream.h"

namespace lq {
namespace {

constexpr std::uint64_t kWriteBackStep = 8 << 20;

using std::filesystem::path;

constexpr int kMaxLinks = 40;  // as the kernel

/// Where a file written to `name` has to appear: the end of a chain of symbolic links, which need
/// not exist.
path resolve_links(const path& name) {
  path at = name;
  std::error_code error;
  for (int i = 0; i < kMaxLinks; ++i) {
    const path target = std::filesystem::read_symlink(at, error);
    if (error) return at;
    at = target.is_absolute() ? target : at.parent_path() / target;
  }
  fail_errno(name.string(), "write", ELOOP);
}

path directory_of(const path& file) {
  return file.has_parent_path() ? file.parent_path() : path(".");
}

/// The open descriptor that a name like /dev/stdout stands for. Opening such a name again would
/// start at the beginning of a redirected file, and replacing it would be worse.
std::optional<int> descriptor_named(const path& name) {
  const std::string text = name.lexically_normal().string();
  if (text == "/dev/stdout") return STDOUT_FILENO;
  if (text == "/dev/stderr") return STDERR_FILENO;
  for (const std::string_view prefix : {"/dev/fd/", "/proc/self/fd/"}) {
    if (text.compare(0, prefix.size(), prefix) != 0) continue;
    const std::string digits = text.substr(prefix.size());
    if (!digits.empty() && digits.size() < 7 &&
        digits.find_first_not_of("0123456789") == std::string::npos)
      return std::stoi(digits);
  }
  return std::nullopt;
}

std::optional<struct stat> status_of(const path& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return std::nullopt;
  return status;
}

[[noreturn]] void fail_exists(const std::string& name) {
  fail(ErrorKind::file, name, ": exists already; give another name or --force to replace it");
}

/// The checks that need no open file; returns the output's status if it exists.
std::optional<struct stat> check_target(const path& output, Existing existing) {
  const std::string name = output.string();
  if (output.empty()) fail(ErrorKind::file, "the output has an empty name");
  const auto status = status_of(output);
  if (!status) {
    if (errno != ENOENT) fail_errno(name, "write");
    const path directory = directory_of(resolve_links(output));
    const auto parent = status_of(directory);
    if (!parent) fail_errno(name, "create");
    if (!S_ISDIR(parent->st_mode)) fail_errno(name, "create", ENOTDIR);
    return status;
  }
  if (S_ISDIR(status->st_mode)) fail_errno(name, "write", EISDIR);
  if (S_ISREG(status->st_mode) && existing == Existing::refuse) fail_exists(name);
  return status;
}

void reserve_space(int file, std::uint64_t n_bytes, const std::string& name) {
  const auto size = static_cast<off_t>(n_bytes);
  int result;
  do result = ::fallocate(file, 0, 0, size);
  while (result != 0 && errno == EINTR);
  if (result == 0) return;
  if (errno != EOPNOTSUPP && errno != ENOSYS) fail_errno(name, "reserve space");
  struct statvfs space {};
  if (::fstatvfs(file, &space) == 0 &&
      static_cast<double>(space.f_bavail) * static_cast<double>(space.f_frsize) <
          static_cast<double>(n_bytes))
    fail_errno(name, "reserve space", ENOSPC);
  if (::ftruncate(file, size) != 0) fail_errno(name, "reserve space");
}

/// A name beside `file` that nobody uses, for as long as it takes.
path name_beside(const path& file) {
  std::random_device random;
  std::string name = ".";
  name += file.filename().string().substr(0, 200);
  name += ".lq-" + std::to_string(::getpid()) + "-" + std::to_string(random());
  return directory_of(file) / name;
}

/// Whether unnamed files can be given a name here: that goes through /proc.
bool can_link_unnamed() { return ::access("/proc/self/fd", X_OK) == 0; }

/// Gives an unnamed file a name; false with errno when that is not possible.
bool link_unnamed(int file, const path& name) {
  const std::string self = "/proc/self/fd/" + std::to_string(file);
  return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
}

/// Makes a name in `directory` durable. Some file systems cannot: then there is nothing to do.
void sync_directory(const path& directory) noexcept {
  const Descriptor file(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file) ::fsync(file.get());
}

}  // namespace

path partial_path(const path& output) { return resolve_links(output).string() + ".lq-partial"; }

AtomicFile::AtomicFile(const path& path, Existing existing, Leave leave)
    : name_(path.string()), path_(path), existing_(existing) {
  if (leave == Leave::partial) {
    open_partial();
    return;
  }
  if (const auto number = descriptor_named(path)) {
    direct_.reset(::fcntl(*number, F_DUPFD_CLOEXEC, 3));
    if (!direct_) fail_errno(name_, "write");
    return;
  }
  const auto status = check_target(path, existing);
  if (status && !S_ISREG(status->st_mode)) {
    open_direct();
    return;
  }
  path_ = resolve_links(path);
  open_temporary();
  // A file without write permission is not replaced, although its directory would allow it.
  if (status && ::access(path_.c_str(), W_OK) != 0) fail_errno(name_, "write");
  if (status) ::fchmod(file_.get(), status->st_mode & 07777);
  if (path_.extension() != ".zst") return;
  packed_ = std::move(file_);
  // Beside the output, where the space is; elsewhere if that cannot be.
  const std::filesystem::path directory = directory_of(path_);
  file_.reset(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file_) file_ = open_unnamed_temporary();
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty() && !keep_) ::unlink(temporary_.c_str());
}

void AtomicFile::open_partial() {
  check_resumable(path_);
  const auto status = check_target(path_, existing_);
  if (status && ::access(path_.c_str(), W_OK) != 0) fail_errno(name_, "write");
  path_ = resolve_links(path_);
  const path name = partial_path(path_);
  file_.reset(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!file_) fail_errno(name.string(), "open");
  temporary_ = name;
  keep_ = true;
  if (status) ::fchmod(file_.get(), status->st_mode & 07777);
}

void AtomicFile::open_direct() {
  direct_.reset(::open(path_.c_str(), O_WRONLY | O_CLOEXEC));
  if (!direct_) fail_errno(name_, "open");
}

void AtomicFile::open_temporary() {
  const path directory = directory_of(path_);
  if (can_link_unnamed()) {
    file_.reset(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666));
    if (file_) return;
    // What file systems and kernels without unnamed files answer.
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT)
      fail_errno(name_, "create");
  }
  for (int attempt = 0; attempt < 16; ++attempt) {
    const path candidate = name_beside(path_);
    file_.reset(::open(candidate.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666));
    if (file_) {
      temporary_ = candidate;
      return;
    }
    if (errno != EEXIST) break;
  }
  fail_errno(name_, "create");
}

void AtomicFile::reserve(std::uint64_t n_bytes) {
  if (n_bytes == 0) return;
  if (direct_ && !file_) {
    file_ = open_unnamed_temporary();
    collect_ = true;
  }
  reserve_space(file_.get(), n_bytes, name_);
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  write_all(direct_ ? direct_.get() : file_.get(), bytes, name_);
}

void AtomicFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  LQ_ASSERT(file_);
  write_all_at(file_.get(), bytes, offset, name_);
  if (direct_ || packed_) return;
  // The disk begins now and then, so that commit() does not have to wait for all of it; in a thread
  // of its own, because the call waits for a busy disk.
  const std::uint64_t before = written_.fetch_add(bytes.size());
  if (before / kWriteBackStep == (before + bytes.size()) / kWriteBackStep) return;
  std::call_once(write_back_begun_, [this] {
    write_back_ = std::make_unique<Background>([file = file_.get()] {
      ::sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE);  // all that is not on its way
    });
  });
  write_back_->wake();
}

void AtomicFile::read_at(std::uint64_t offset, std::span<std::byte> into) const {
  LQ_ASSERT(file_);
  read_all_at(file_.get(), into, offset, name_);
}

void AtomicFile::commit() {
  if (direct_) {
    if (collect_) pass_on();
    // Some devices and network files report a failed write only now.
    if (::close(direct_.take()) != 0 && errno != EINTR) fail_errno(name_, "write");
    file_.reset();
    return;
  }
  if (packed_) compress();
  write_back_.reset();  // the sync below writes all that is left
  if (::fsync(file_.get()) != 0 && errno != EINVAL) fail_errno(name_, "write");
  if (!named_) give_name();
  sync_directory(directory_of(path_));
  file_.reset();
}

void AtomicFile::compress() {
  if (::lseek(file_.get(), 0, SEEK_SET) < 0) fail_errno(name_, "write");
  zstd_compress(
      [this](std::span<std::byte> piece) { return read_some(file_.get(), piece, name_); },
      [this](std::span<const std::byte> piece) { write_all(packed_.get(), piece, name_); });
  file_ = std::move(packed_);
}

void AtomicFile::pass_on() {
  std::vector<std::byte> piece(1 << 20);
  if (::lseek(file_.get(), 0, SEEK_SET) < 0) fail_errno(name_, "write");
  while (const std::size_t n = read_some(file_.get(), piece, name_))
    write_all(direct_.get(), std::span(piece).first(n), name_);
}

void AtomicFile::give_name() {
  LQ_ASSERT(!direct_);
  named_ = true;
  const bool replace = existing_ == Existing::replace;
  if (temporary_.empty()) {
    if (link_unnamed(file_.get(), path_)) return;
    if (errno != EEXIST) fail_errno(name_, "create");
    if (!replace) fail_exists(name_);
    // A name can only be replaced by another name: it is there for the moment until the rename.
    const path candidate = name_beside(path_);
    if (!link_unnamed(file_.get(), candidate)) fail_errno(name_, "create");
    temporary_ = candidate;
  }
  if (!replace) {
    if (::link(temporary_.c_str(), path_.c_str()) == 0) {
      ::unlink(temporary_.c_str());  // now, because the journal goes after this
      temporary_.clear();
      return;
    }
    if (errno == EEXIST) fail_exists(name_);
    if (errno != EPERM && errno != EOPNOTSUPP) fail_errno(name_, "create");  // no hard links here
    if (status_of(path_)) fail_exists(name_);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_errno(name_, "replace");
  temporary_.clear();
}

void check_resumable(const path& output) {
  const auto status = status_of(output);
  if ((status && !S_ISREG(status->st_mode)) || descriptor_named(output) ||
      output.extension() == ".zst")
    fail(ErrorKind::usage, output.string(),
         ": only an ordinary file can be written in several runs");
}

void check_output(const path& output, Existing existing, std::span<const path> inputs) {
  if (descriptor_named(output)) return;
  const auto status = status_of(output);
  for (const path& input : inputs) {
    const auto other = status_of(input);
    if (status && other && S_ISREG(status->st_mode) && status->st_dev == other->st_dev &&
        status->st_ino == other->st_ino)
      fail(ErrorKind::usage, "output ", output.string(), " is the same file as input ",
           input.string());
  }
  check_target(output, existing);
}

}  // namespace lq

// Loaded into a tool by LD_PRELOAD: lets one call of the system fail.
// LQ_FAULT=CALL:N:ERRNO, e.g. pwrite:3:28 for "no space left" at the third pwrite of the process;
// flip:3:0 writes another last byte at the third, as a faulty disk does.
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::atomic<int> calls = 0;

/// Whether this call has to fail; errno is set then.
bool fails(const char* call) {
  const char* wish = std::getenv("LQ_FAULT");
  const std::size_t n = std::strlen(call);
  if (!wish || std::strncmp(wish, call, n) != 0 || wish[n] != ':') return false;
  char* end = nullptr;
  const long at = std::strtol(wish + n + 1, &end, 10);
  if (++calls != at) return false;
  errno = static_cast<int>(std::strtol(end + 1, nullptr, 10));
  return true;
}

/// The function that stands behind this library's.
template <class Function>
Function* behind(Function*, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

ssize_t pwrite(int file, const void* bytes, std::size_t n, off_t offset) {
  if (fails("flip")) {
    std::string other(static_cast<const char*>(bytes), n);
    other.back() = static_cast<char>(other.back() ^ 1);
    return behind(pwrite, "pwrite")(file, other.data(), n, offset);
  }
  return fails("pwrite") ? -1 : behind(pwrite, "pwrite")(file, bytes, n, offset);
}
ssize_t pwrite64(int file, const void* bytes, std::size_t n, off64_t offset) {
  return pwrite(file, bytes, n, offset);
}
int fallocate(int file, int mode, off_t offset, off_t n) {
  return fails("fallocate") ? -1 : behind(fallocate, "fallocate")(file, mode, offset, n);
}
int fallocate64(int file, int mode, off64_t offset, off64_t n) {
  return fails("fallocate") ? -1 : behind(fallocate64, "fallocate64")(file, mode, offset, n);
}
int fsync(int file) { return fails("fsync") ? -1 : behind(fsync, "fsync")(file); }
int linkat(int from, const char* a, int to, const char* b, int flags) noexcept {
  return fails("linkat") ? -1 : behind(linkat, "linkat")(from, a, to, b, flags);
}
int link(const char* a, const char* b) noexcept {
  return fails("link") ? -1 : behind(link, "link")(a, b);
}
int rename(const char* a, const char* b) noexcept {
  return fails("rename") ? -1 : behind(rename, "rename")(a, b);
}
}

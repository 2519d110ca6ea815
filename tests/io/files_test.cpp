#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>
#include <thread>

#include "lib/io/atomic_file.h"
#include "lib/io/mapped_file.h"
#include "lib/io/text_file.h"
#include "lib/io/zstd_stream.h"
#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"

using namespace lq;
using test::file_content;
using test::holds;
using test::input_error;
using test::message_of;
using test::TempDir;
using test::text_of;

namespace {

template <class Body>
std::string file_error(const Body& body) {
  return message_of(ErrorKind::file, body);
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}
std::string compressed(std::string_view text) {
  std::string out;
  std::string_view left = text;
  zstd_compress(
      [&](std::span<std::byte> piece) {
        const std::size_t n = std::min(piece.size(), left.size());
        std::memcpy(piece.data(), left.data(), n);
        left.remove_prefix(n);
        return n;
      },
      [&](std::span<const std::byte> piece) { out += text_of(piece); });
  return out;
}
/// Text that does not compress well.
std::string noise(std::size_t n) {
  std::string text(n, '\0');
  unsigned state = 1;
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

/// Runs `body` in a child process as a user who is not root.
template <class Body>
int status_of_child(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(99);
    ::_exit(body());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("mapped file: content, empty file, move, identity") {
  const TempDir dir;
  MappedFile file(dir.write("a", "hello"));
  CHECK(text_of(file.bytes()) == "hello");
  CHECK(file.identity() == MappedFile(dir / "a").identity());
  CHECK(file.identity() != MappedFile(dir.write("b", "hello")).identity());
  MappedFile other(std::move(file));
  CHECK(text_of(other.bytes()) == "hello");
  other = MappedFile(dir.write("c", ""));
  CHECK(other.bytes().empty());
  CHECK(other.name() == (dir / "c").string());
}

TEST_CASE("mapped file: released pages come back with the same content") {
  const TempDir dir;
  const std::string content = noise(100'000);
  const MappedFile file(dir.write("a", content));
  CHECK(text_of(file.bytes()) == content);
  file.release(file.bytes().subspan(10, 90'000));
  file.release(file.bytes().subspan(10, 20));
  file.release({});
  CHECK(text_of(file.bytes()) == content);
}

TEST_CASE("mapped file: what is not a readable file is named") {
  const TempDir dir;
  const auto open = [&](const std::string& name) {
    return file_error([&] { MappedFile file(dir / name); });
  };
  CHECK(open("missing") == (dir / "missing").string() + ": cannot open: no such file or directory");
  std::filesystem::create_directory(dir / "folder");
  CHECK(holds(open("folder"), "is a directory"));
  ::mkfifo((dir / "pipe").c_str(), 0600);
  CHECK(holds(open("pipe"), "not a regular file"));
  std::filesystem::create_symlink(dir / "loop", dir / "loop");
  CHECK(holds(open("loop"), "cannot open: "));
  dir.write("secret", "x");
  std::filesystem::permissions(dir / "secret", std::filesystem::perms::none);
  std::filesystem::permissions(dir.path(), std::filesystem::perms::all);
  CHECK(status_of_child(
            [&] { return holds(open("secret"), "cannot open: permission denied") ? 0 : 1; }) == 0);
}

TEST_CASE("mapped file: zstd content is expanded, damaged content is an input error") {
  const TempDir dir;
  const std::string content = noise(1'000'000);
  const std::string packed = compressed(content);
  CHECK(text_of(MappedFile(dir.write("a.zst", packed)).bytes()) == content);
  CHECK(text_of(MappedFile(dir.write("two", packed + compressed("tail"))).bytes()) ==
        content + "tail");
  CHECK(MappedFile(dir.write("empty.zst", compressed(""))).bytes().empty());
  const auto open = [&](const std::string& text) {
    return input_error([&] { MappedFile file(dir.write("bad", text)); });
  };
  CHECK(holds(open(packed.substr(0, packed.size() - 9)), "truncated zstd content"));
  CHECK(holds(open(packed.substr(0, 4)), "truncated zstd content"));
  CHECK(holds(open(packed + "garbage"), "zstd content"));
  std::string flipped = packed;
  flipped[packed.size() / 2] = static_cast<char>(flipped[packed.size() / 2] ^ 0x55);
  CHECK(holds(open(flipped), "damaged zstd content"));
}

TEST_CASE("text: plain, compressed, pipe, limit") {
  const TempDir dir;
  write_text(dir / "a.txt", "hello\n", Existing::refuse);
  CHECK(file_content(dir / "a.txt") == "hello\n");
  CHECK(read_text(dir / "a.txt") == "hello\n");
  const std::string content = noise(700'000) + std::string(700'000, 'x');
  write_text(dir / "b.zst", content, Existing::refuse);
  CHECK(file_content(dir / "b.zst").size() < 710'000);
  CHECK(read_text(dir / "b.zst") == content);
  CHECK(holds(input_error([&] { read_text(dir / "b.zst", 1'000'000); }), "too large"));
  CHECK(holds(input_error([&] { read_text(dir / "a.txt", 5); }), "more than 5 bytes"));
  CHECK(read_text(dir / "a.txt", 6) == "hello\n");
  // A few kB that would expand to 50 MB.
  const std::string bomb = compressed(std::string(50'000'000, '\0'));
  CHECK(bomb.size() < 10'000);
  CHECK(holds(input_error([&] { read_text(dir.write("bomb", bomb), 1000); }), "too large"));
  CHECK(holds(file_error([&] { read_text(dir.path()); }), "is a directory"));
  CHECK(holds(file_error([&] { read_text(dir / "none"); }), "no such file"));

  ::mkfifo((dir / "pipe").c_str(), 0600);
  std::thread writer([&] {
    const int file = ::open((dir / "pipe").c_str(), O_WRONLY);
    for (const char c : compressed("through a pipe"))
      if (::write(file, &c, 1) != 1) break;
    ::close(file);
  });
  CHECK(read_text(dir / "pipe") == "through a pipe");
  writer.join();
}

TEST_CASE("atomic file: appears with commit, vanishes without") {
  const TempDir dir;
  {
    AtomicFile file(dir / "a", Existing::refuse);
    CHECK(file.seekable());
    file.append(bytes_of("hello "));
    file.append(bytes_of("world"));
    CHECK(dir.names().empty());
    file.commit();
  }
  CHECK(file_content(dir / "a") == "hello world");
  {
    AtomicFile file(dir / "b", Existing::refuse);
    file.append(bytes_of("never seen"));
  }
  CHECK(dir.names() == std::vector<std::string>{"a"});
}

TEST_CASE("atomic file: reserved space is zero, ranges can be written in any order") {
  const TempDir dir;
  AtomicFile file(dir / "a", Existing::refuse);
  file.reserve(10);
  file.write_at(7, bytes_of("xy"));
  file.write_at(1, bytes_of("ab"));
  file.commit();
  CHECK(file_content(dir / "a") == std::string("\0ab\0\0\0\0xy\0", 10));
}

TEST_CASE("atomic file: an existing file is refused, or replaced with its permissions") {
  const TempDir dir;
  dir.write("a", "old");
  std::filesystem::permissions(dir / "a", std::filesystem::perms(0640));
  CHECK(holds(file_error([&] { AtomicFile file(dir / "a", Existing::refuse); }), "exists already"));
  AtomicFile file(dir / "a", Existing::replace);
  file.append(bytes_of("new"));
  CHECK(file_content(dir / "a") == "old");
  file.commit();
  CHECK(file_content(dir / "a") == "new");
  CHECK(std::filesystem::status(dir / "a").permissions() == std::filesystem::perms(0640));
  CHECK(dir.names() == std::vector<std::string>{"a"});
}

TEST_CASE("atomic file: a file that appeared meanwhile is not replaced") {
  const TempDir dir;
  {
    AtomicFile file(dir / "a", Existing::refuse);
    dir.write("a", "somebody else's");
    CHECK(holds(file_error([&] { file.commit(); }), "exists already"));
  }
  CHECK(file_content(dir / "a") == "somebody else's");
  CHECK(dir.names() == std::vector<std::string>{"a"});
}

TEST_CASE("atomic file: symbolic links are followed") {
  const TempDir dir;
  dir.write("real/a", "old");
  std::filesystem::create_symlink("real/a", dir / "link");
  CHECK(holds(file_error([&] { AtomicFile file(dir / "link", Existing::refuse); }),
              "exists already"));
  write_text(dir / "link", "new", Existing::replace);
  CHECK(std::filesystem::is_symlink(dir / "link"));
  CHECK(file_content(dir / "real/a") == "new");
  std::filesystem::create_symlink("real/b", dir / "dangling");
  write_text(dir / "dangling", "made", Existing::refuse);
  CHECK(file_content(dir / "real/b") == "made");
}

TEST_CASE("atomic file: places that cannot be written are named") {
  const TempDir dir;
  const auto create = [&](const std::string& name) {
    return file_error([&] { AtomicFile file(dir / name, Existing::replace); });
  };
  CHECK(holds(create("none/a"), "none/a: cannot create: no such file or directory"));
  dir.write("plain", "x");
  CHECK(holds(create("plain/a"), "not a directory"));
  std::filesystem::create_directory(dir / "folder");
  CHECK(holds(create("folder"), "cannot write: is a directory"));
  CHECK(holds(file_error([] { AtomicFile file("", Existing::refuse); }), "empty name"));
  std::filesystem::create_directory(dir / "locked");
  std::filesystem::permissions(dir / "locked", std::filesystem::perms(0555));
  std::filesystem::permissions(dir.path(), std::filesystem::perms::all);
  CHECK(status_of_child([&] {
          return holds(create("locked/a"), "cannot create: permission denied") ? 0 : 1;
        }) == 0);
}

TEST_CASE("atomic file: a full device and a full disk are file errors") {
  CHECK(holds(file_error([] { write_text("/dev/full", "x", Existing::refuse); }),
              "/dev/full: cannot write: no space left on device"));
  CHECK(holds(file_error([] {
                AtomicFile file("/dev/full", Existing::refuse);
                file.reserve(10);
                file.write_at(3, bytes_of("x"));
                file.commit();
              }),
              "/dev/full: cannot write: no space left on device"));
  const TempDir dir;
  CHECK(holds(file_error([&] {
                AtomicFile file(dir / "a", Existing::refuse);
                file.reserve(std::uint64_t{1} << 60);
              }),
              "cannot reserve space: "));
  CHECK(status_of_child([&] {
          std::signal(SIGXFSZ, SIG_IGN);
          const rlimit limit{1000, 1000};
          ::setrlimit(RLIMIT_FSIZE, &limit);
          const TempDir own;
          const std::string message =
              file_error([&] { write_text(own / "a", std::string(2000, 'x'), Existing::refuse); });
          return holds(message, "cannot write: file too large") && own.names().empty() ? 0 : 1;
        }) == 0);
  CHECK(dir.names().empty());
}

TEST_CASE("atomic file: pipes and devices get the bytes in order") {
  const TempDir dir;
  write_text("/dev/null", "x", Existing::refuse);
  ::mkfifo((dir / "pipe").c_str(), 0600);
  std::string got;
  std::thread reader([&] { got = read_text(dir / "pipe"); });
  AtomicFile file(dir / "pipe", Existing::refuse);
  CHECK(!file.seekable());
  file.reserve(6);
  file.write_at(3, bytes_of("def"));
  file.write_at(0, bytes_of("abc"));
  file.commit();
  reader.join();
  CHECK(got == "abcdef");
}

TEST_CASE("atomic file: standard output that was redirected is written where it stands") {
  const TempDir dir;
  CHECK(status_of_child([&] {
          const TempDir own;
          const int file = ::open((own / "out").c_str(), O_CREAT | O_WRONLY, 0600);
          ::dup2(file, STDOUT_FILENO);
          if (::write(STDOUT_FILENO, "first ", 6) != 6) return 2;
          write_text("-", "second ", Existing::refuse);
          write_text("/dev/stdout", "third", Existing::refuse);
          return file_content(own / "out") == "first second third" ? 0 : 1;
        }) == 0);
}

TEST_CASE("atomic file: nothing is left when the process is killed") {
  const TempDir dir;
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    AtomicFile file(dir / "a", Existing::refuse);
    file.reserve(1 << 20);
    file.write_at(0, bytes_of(noise(100'000)));
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    ::pause();
  }
  char byte;
  CHECK(::read(ready[0], &byte, 1) == 1);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
  CHECK(dir.names().empty());
}

TEST_CASE("output check: the same file under any name, existing files, missing directories") {
  const TempDir dir;
  const auto input = dir.write("in", "x");
  const std::filesystem::path inputs[] = {dir / "other", input};
  std::filesystem::create_symlink("in", dir / "link");
  std::filesystem::create_hard_link(input, dir / "hard");
  for (const char* name : {"in", "link", "hard", "./in"}) {
    CAPTURE(name);
    CHECK(holds(
        message_of(ErrorKind::usage, [&] { check_output(dir / name, Existing::replace, inputs); }),
        "is the same file as input"));
  }
  dir.write("taken", "y");
  CHECK(holds(file_error([&] { check_output(dir / "taken", Existing::refuse, inputs); }),
              "exists already"));
  check_output(dir / "taken", Existing::replace, inputs);
  check_output(dir / "new", Existing::refuse, inputs);
  check_output("/dev/stdout", Existing::refuse, inputs);
  check_output("/dev/null", Existing::refuse, inputs);
  CHECK(holds(file_error([&] { check_output(dir / "no/new", Existing::refuse, inputs); }),
              "cannot create: no such file or directory"));
  CHECK(holds(file_error([&] { check_output(dir.path(), Existing::replace, inputs); }),
              "is a directory"));
}

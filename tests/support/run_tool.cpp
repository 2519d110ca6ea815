#include "tests/support/run_tool.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace lq::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { close(); }
  int get() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

struct Pipe {
  Fd read, write;
};

void require(bool good, const char* what) {
  if (!good) throw std::runtime_error(std::string("run_tool: ") + what + " failed");
}

Pipe make_pipe() {
  int fds[2];
  require(::pipe2(fds, O_CLOEXEC) == 0, "pipe");
  return {Fd(fds[0]), Fd(fds[1])};
}

Pipe make_terminal() {
  winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  int master = -1, slave = -1;
  require(::openpty(&master, &slave, nullptr, nullptr, &size) == 0, "openpty");
  ::fcntl(master, F_SETFD, FD_CLOEXEC);
  ::fcntl(slave, F_SETFD, FD_CLOEXEC);
  return {Fd(master), Fd(slave)};
}

/// A child process: its ends of the streams, ours, and what came out of them.
class Child {
 public:
  Child(const std::vector<std::string>& argv, const RunOptions& options, std::string directory)
      : options_(options), directory_(std::move(directory)) {
    connect();
    start(argv);
    for (Fd* fd : {&child_in_, &child_out_, &child_err_}) fd->close();
    ::fcntl(in_.get(), F_SETFL, O_NONBLOCK);
    if (options_.streams != Streams::all_on_tty && options_.input.empty()) in_.close();
  }

  void finish(ToolRun& run);

 private:
  void connect();
  void start(const std::vector<std::string>& argv);
  [[noreturn]] void become(const std::vector<std::string>& argv);
  void feed();
  bool drain(Fd& fd, std::string& text);
  void send_signals(ToolRun& run);

  const RunOptions& options_;
  std::string directory_;
  Fd in_, out_, err_, child_in_, child_out_, child_err_;
  std::string to_send_;
  std::size_t turn_ = 0, seen_ = 0;
  pid_t pid_ = -1;
  Clock::time_point begun_ = Clock::now();
  bool signalled_ = false;
};

void Child::connect() {
  const auto take = [](Pipe pipe, Fd& ours, Fd& childs, bool we_write) {
    ours = std::move(we_write ? pipe.write : pipe.read);
    childs = std::move(we_write ? pipe.read : pipe.write);
  };
  to_send_ = options_.input;
  if (options_.streams == Streams::all_on_tty) {
    take(make_terminal(), out_, child_out_, false);
    in_ = Fd(::dup(out_.get()));
    child_in_ = Fd(::dup(child_out_.get()));
    child_err_ = Fd(::dup(child_out_.get()));
    return;
  }
  take(make_pipe(), in_, child_in_, true);
  take(make_pipe(), out_, child_out_, false);
  take(options_.streams == Streams::error_on_tty ? make_terminal() : make_pipe(), err_, child_err_,
       false);
  if (!options_.stdout_path.empty()) {
    child_out_ = Fd(::open(options_.stdout_path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    require(child_out_.get() >= 0, "open of stdout_path");
  }
}

void Child::become(const std::vector<std::string>& argv) {
  ::setsid();
  if (options_.streams == Streams::all_on_tty) ::ioctl(child_in_.get(), TIOCSCTTY, 0);
  ::dup2(child_in_.get(), 0);
  ::dup2(child_out_.get(), 1);
  ::dup2(child_err_.get(), 2);
  for (const auto& [name, value] : options_.env)
    value.empty() ? ::unsetenv(name.c_str()) : ::setenv(name.c_str(), value.c_str(), 1);
  if (options_.memory_limit) {
    const rlimit limit{options_.memory_limit, options_.memory_limit};
    ::setrlimit(RLIMIT_AS, &limit);
  }
  std::vector<char*> words;
  for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  if (::chdir(directory_.c_str()) == 0) ::execvp(words[0], words.data());
  ::_exit(127);
}

void Child::start(const std::vector<std::string>& argv) {
  pid_ = ::fork();
  require(pid_ >= 0, "fork");
  if (pid_ == 0) become(argv);
}

void Child::feed() {
  while (!to_send_.empty()) {
    const ssize_t n = ::write(in_.get(), to_send_.data(), to_send_.size());
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) break;  // the tool does not read its input: allowed
    to_send_.erase(0, static_cast<std::size_t>(n));
  }
  if (options_.streams != Streams::all_on_tty) in_.close();
}

bool Child::drain(Fd& fd, std::string& text) {
  char buffer[1 << 16];
  const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) {  // a terminal whose other end is closed reports EIO
    fd.close();
    return false;
  }
  text.append(buffer, static_cast<std::size_t>(n));
  return true;
}

void Child::send_signals(ToolRun& run) {
  const auto elapsed = Clock::now() - begun_;
  if (options_.signal && !signalled_ && elapsed >= options_.signal_after) {
    signalled_ = true;
    ::kill(pid_, options_.signal);
  }
  if (!run.timed_out && elapsed >= options_.timeout) {
    run.timed_out = true;
    ::kill(-pid_, SIGKILL);
  }
}

void Child::finish(ToolRun& run) {
  while (out_.get() >= 0 || err_.get() >= 0) {
    pollfd fds[3] = {{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}, {-1, POLLOUT, 0}};
    if (!to_send_.empty()) fds[2].fd = in_.get();
    ::poll(fds, 3, 10);
    if (fds[0].revents) drain(out_, run.out);
    if (fds[1].revents) drain(err_, run.err);
    if (fds[2].revents) feed();
    send_signals(run);
    if (turn_ < options_.dialog.size() && to_send_.empty()) {
      const Turn& turn = options_.dialog[turn_];
      const auto at = run.out.find(turn.wait_for, seen_);
      if (at == std::string::npos) continue;
      seen_ = at + turn.wait_for.size();
      to_send_ = turn.send;
      ++turn_;
    }
  }
  int status = 0;
  rusage usage{};
  while (::wait4(pid_, &status, WNOHANG, &usage) == 0) {
    send_signals(run);
    ::usleep(1000);
  }
  run.wall = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun_);
  run.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  run.cpu = std::chrono::milliseconds((usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
                                      (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000);
  run.peak_memory_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

std::string listing_of(const std::string& directory) {
  std::ostringstream out;
  int rows = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (++rows > 100) {
      out << "  ...\n";
      break;
    }
    out << "  " << fs::relative(entry.path(), directory).string();
    if (entry.is_regular_file()) out << "  " << entry.file_size();
    out << '\n';
  }
  return out.str();
}

ToolRun run_command(const std::vector<std::string>& argv, const RunOptions& options) {
  std::unique_ptr<TempDir> own;
  if (options.directory.empty()) own = std::make_unique<TempDir>();
  ToolRun run;
  run.directory = own ? own->path().string() : options.directory;
  for (const auto& word : argv) run.command += (run.command.empty() ? "" : " ") + word;
  // A tool that does not read its input must not end this process.
  std::signal(SIGPIPE, SIG_IGN);
  Child(argv, options, run.directory).finish(run);
  run.listing = listing_of(run.directory);
  return run;
}

}  // namespace

const std::vector<std::string>& all_tools() {
  static const std::vector<std::string> tools = [] {
    std::vector<std::string> names;
    std::istringstream list(LQ_TOOLS);
    for (std::string name; list >> name;) names.push_back(name);
    return names;
  }();
  return tools;
}

std::string ToolRun::report() const {
  std::ostringstream text;
  text << "command: " << command << "\ndirectory: " << directory << "\n"
       << listing << "status: " << status << (timed_out ? " (killed: ran too long)" : "")
       << " after " << wall.count() << " ms\n--- stdout\n"
       << out << "\n--- stderr\n"
       << err << "\n---";
  return text.str();
}

ToolRun run_tool(std::string_view tool, const std::vector<std::string>& arguments,
                 const RunOptions& options) {
  std::vector<std::string> argv = {std::string(LQ_BINARY_DIR "/tools/").append(tool)};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return run_command(argv, options);
}

ToolRun run_shell(std::string_view command, const RunOptions& options) {
  return run_command(
      {"/bin/sh", "-c",
       std::string("PATH=" LQ_BINARY_DIR "/tools:$PATH; export PATH; ").append(command)},
      options);
}

const ToolRun& expect_status(const ToolRun& run, int status) {
  const bool as_expected = run.status == status && !run.timed_out;
  CHECK_MESSAGE(as_expected, "expected status " << status << "\n" << run.report());
  return run;
}

ToolRun run_expecting(int status, std::string_view tool, const std::vector<std::string>& arguments,
                      const RunOptions& options) {
  ToolRun run = run_tool(tool, arguments, options);
  expect_status(run, status);
  return run;
}

}  // namespace lq::test

#include "tools/cli/interrupt.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>

namespace lq::cli {
namespace {

constexpr int kInterruptedStatus = 130;

// A signal handler can reach nothing but a global.
std::atomic<bool> stop_asked{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int) {
  if (stop_asked.exchange(true)) ::_exit(kInterruptedStatus);
}

}  // namespace

void prepare_process() {
  // A descriptor closed by the caller would otherwise be given to the next file opened. The
  // replacement is opened the wrong way round, so that using it is an error as before.
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) == -1) [[maybe_unused]]
      const int replacement = ::open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);

  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  // Started by nohup, a closed terminal goes on being ignored.
  struct sigaction inherited = {};
  ::sigaction(SIGHUP, nullptr, &inherited);
  if (inherited.sa_handler != SIG_IGN) ::sigaction(SIGHUP, &action, nullptr);
  action.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &action, nullptr);
}

bool stop_requested() { return stop_asked.load(std::memory_order_relaxed); }
void clear_stop() { stop_asked.store(false); }

}  // namespace lq::cli

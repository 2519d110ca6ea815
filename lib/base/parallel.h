#pragma once
// Threads for long work; lib/base/thread_pool.h has those for short work. The only `#pragma omp`.
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace lq {

/// Cores that this process may use: the smaller of its affinity mask and its cgroup CPU quota, at
/// least 1.
int available_threads();

/// Calls body(i) for i in [0, n) on up to `threads` threads. The first exception a body throws is
/// rethrown here, after all threads have stopped; bodies not yet started by then are skipped.
template <class Body>
void parallel_for(std::ptrdiff_t n, int threads, const Body& body) {
  std::exception_ptr first;
  bool stop = false;
#pragma omp parallel for schedule(dynamic) num_threads(threads) \
    shared(first, stop) if (threads > 1 && n > 1)
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    bool skip;
#pragma omp atomic read
    skip = stop;
    if (skip) continue;
    try {
      body(i);
    } catch (...) {
#pragma omp critical(lq_parallel_for)
      if (!first) first = std::current_exception();
#pragma omp atomic write
      stop = true;
    }
  }
  if (first) std::rethrow_exception(first);
}

/// Calls body(begin, end) on disjoint ranges that cover [0, n), one a thread, each a multiple of
/// `grain` long but the last. Which range a thread gets depends on n, threads and grain alone.
/// `body` may not throw.
template <class Body>
void parallel_ranges(std::ptrdiff_t n, std::ptrdiff_t grain, int threads,
                     const Body& body) noexcept {
  const std::ptrdiff_t grains = (n + grain - 1) / grain;
  if (threads > grains) threads = static_cast<int>(grains);
  if (threads <= 1) {
    if (n > 0) body(std::ptrdiff_t{0}, n);
    return;
  }
#pragma omp parallel for schedule(static, 1) num_threads(threads)
  for (int t = 0; t < threads; ++t) {
    const std::ptrdiff_t begin = grains * t / threads * grain;
    std::ptrdiff_t end = grains * (t + 1) / threads * grain;
    if (end > n) end = n;
    if (begin < end) body(begin, end);
  }
}

/// Does something again and again in a thread of its own, while its owner goes on.
class Background {
 public:
  /// `work` may not throw.
  explicit Background(std::function<void()> work);
  ~Background();  ///< waits for the end of what is being done
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  /// Has work() done, once more if it is being done. Safe from several threads at once.
  void wake();

 private:
  void run();

  const std::function<void()> work_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool wanted_ = false, end_ = false;
  std::thread thread_;
};

}  // namespace lq

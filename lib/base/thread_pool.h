#pragma once
// Threads that wait for short jobs: handing one out and gathering it costs less than a microsecond.
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace lq {

/// The caller is worker 0; the others spin for some 50 us after a job, then yield, then sleep.
/// Tasks are taken one by one, and a job is done when its tasks are: a worker that the system has
/// put aside holds nobody up unless it has taken a task. One thread drives one pool.
class ThreadPool {
 public:
  static constexpr int kMaxTasks = 1 << 19;

  /// With as many threads as cores that the process may use, each worker gets a core of its own:
  /// the caller is moved to its own one where it is found elsewhere at the start of a job.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls enter(worker) once on every worker that takes part, worker 0 among them, then
  /// task(i, worker) there for some of the i in [0, n), n at most kMaxTasks. Neither may throw.
  template <class Enter, class Task>
  void run(int n, const Enter& enter, const Task& task) {
    struct Job {
      const Enter& enter;
      const Task& task;
    } job{enter, task};
    if (n <= 1 || workers_.empty()) {
      enter(0);
      for (int i = 0; i < n; ++i) task(i, 0);
      return;
    }
    publish(
        n, &job, [](void* j, int worker) { static_cast<Job*>(j)->enter(worker); },
        [](void* j, int i, int worker) { static_cast<Job*>(j)->task(i, worker); });
  }
  template <class Task>
  void run(int n, const Task& task) {
    run(
        n, [](int) {}, task);
  }

 private:
  using Enter = void (*)(void* job, int worker);
  using Task = void (*)(void* job, int i, int worker);

  void publish(int n, void* job, Enter enter, Task task);
  /// `entered`: the job that the worker has entered. done() is called after each task.
  template <class Done>
  void take_tasks(int worker, std::uint64_t entered, const Done& done);
  void serve(int worker);
  std::uint64_t wait_for_job(std::uint64_t seen);

  // A line that another core has written takes a quarter of a microsecond to come, so what a worker
  // needs first is in one, and each is written where it has to be.

  /// Number of the job, tasks of the job, tasks taken: one word, so that what is taken belongs to
  /// the job that is read with it.
  alignas(64) std::atomic<std::uint64_t> ticket_{0};
  std::atomic<void*> job_{nullptr};
  Enter enter_ = nullptr;
  Task task_ = nullptr;
  /// Tasks of all jobs, by others than the caller.
  alignas(64) std::atomic<std::uint64_t> done_{0};
  alignas(64) std::atomic<int> sleepers_{0};
  std::atomic<int> alarm_{0};  ///< what sleepers wait for
  std::atomic<bool> end_{false};
  alignas(64) std::uint64_t left_to_others_ = 0;  ///< what done_ will be
  int own_core_ = -1;                             ///< of the caller; -1: any
  std::vector<std::thread> workers_;
};

}  // namespace lq

#include "lib/base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <chrono>

#include "lib/base/error.h"
#include "lib/base/parallel.h"

namespace lq {
namespace {

constexpr int kTaskBits = 20;
constexpr std::uint64_t kTaskMask = (std::uint64_t{1} << kTaskBits) - 1;

constexpr std::uint64_t kJobMask = ~std::uint64_t{0} >> (2 * kTaskBits);
constexpr std::uint64_t kNoJob = ~std::uint64_t{0};

std::uint64_t job_of(std::uint64_t ticket) { return ticket >> (2 * kTaskBits); }
std::uint64_t tasks_of(std::uint64_t ticket) { return (ticket >> kTaskBits) & kTaskMask; }
std::uint64_t taken_of(std::uint64_t ticket) { return ticket & kTaskMask; }

void relax() { __builtin_ia32_pause(); }

/// Calls ready() until it is true or `limit` has passed; true: it is.
template <class Ready, class Pause>
bool spin(std::chrono::microseconds limit, const Pause& pause, const Ready& ready) {
  constexpr int kBetweenClocks = 16;
  if (ready()) return true;
  const auto start = std::chrono::steady_clock::now();
  do {
    for (int i = 0; i < kBetweenClocks; ++i) {
      if (ready()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() - start < limit);
  return false;
}

/// A job is on its caller's stack, and what it refers to above it: one after the other these lines
/// would take as long as small tasks.
void prefetch_above(const void* job) {
  constexpr int kLines = 8, kLineBytes = 64;
  for (int i = 0; job && i < kLines; ++i)
    __builtin_prefetch(static_cast<const char*>(job) + kLineBytes * i);
}

constexpr std::chrono::microseconds kSpin{50}, kYield{2000};

/// Number `core` of those that the process may use; -1: there is none.
int core_at(int core) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return -1;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &allowed) && core-- == 0) return cpu;
  return -1;
}

void pin(pthread_t thread, int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  if (cpu >= 0) CPU_SET(cpu, &one);
  // Without permission the thread runs where the system puts it.
  if (cpu >= 0) pthread_setaffinity_np(thread, sizeof one, &one);
}

/// Moves the calling thread, which may leave again: threads that it makes may run anywhere.
void move_to(int cpu) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || !CPU_ISSET(cpu, &allowed)) return;
  pin(pthread_self(), cpu);
  sched_setaffinity(0, sizeof allowed, &allowed);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  const bool own_cores = threads == available_threads();
  workers_.reserve(static_cast<std::size_t>(threads > 1 ? threads - 1 : 0));
  for (int worker = 1; worker < threads; ++worker) {
    try {
      workers_.emplace_back([this, worker] { serve(worker); });
    } catch (const std::exception&) {
      break;  // fewer threads do the same work
    }
    if (own_cores) pin(workers_.back().native_handle(), core_at(worker));
  }
  if (own_cores && !workers_.empty()) own_core_ = core_at(0);
}

ThreadPool::~ThreadPool() {
  end_.store(true);
  publish(0, nullptr, nullptr, nullptr);
  for (std::thread& thread : workers_) thread.join();
}

void ThreadPool::publish(int n, void* job, Enter enter, Task task) {
  LQ_ASSERT(n >= 0 && n <= kMaxTasks);
  // The system is in no hurry to part two busy threads, least of all those of real-time priority.
  if (own_core_ >= 0 && n > 0 && sched_getcpu() != own_core_) move_to(own_core_);
  job_.store(job, std::memory_order_relaxed);
  enter_ = enter;
  task_ = task;
  const std::uint64_t number = job_of(ticket_.load(std::memory_order_relaxed)) + 1;
  ticket_.store(number << (2 * kTaskBits) | static_cast<std::uint64_t>(n) << kTaskBits);
  if (sleepers_.load() > 0) {
    alarm_.fetch_add(1);
    alarm_.notify_all();
  }
  if (n == 0) return;
  enter(job, 0);
  int own = 0;
  take_tasks(0, number & kJobMask, [&] { ++own; });
  left_to_others_ += static_cast<std::uint64_t>(n - own);
  const auto done = [&] { return done_.load(std::memory_order_acquire) == left_to_others_; };
  while (!spin(kSpin, relax, done) && !spin(
                                          kYield, [] { sched_yield(); }, done)) {
  }
}

template <class Done>
void ThreadPool::take_tasks(int worker, std::uint64_t entered, const Done& done) {
  while (true) {
    const std::uint64_t ticket = ticket_.fetch_add(1);
    if (taken_of(ticket) >= tasks_of(ticket)) return;
    // The job cannot end, and what it consists of cannot change, before this task is done. It need
    // not be the job of the task before: with that the job may have ended and another begun.
    void* const job = job_.load(std::memory_order_relaxed);
    if (job_of(ticket) != entered) enter_(job, worker);
    entered = job_of(ticket);
    task_(job, static_cast<int>(taken_of(ticket)), worker);
    done();
    if (taken_of(ticket) + 1 == tasks_of(ticket)) return;
  }
}

std::uint64_t ThreadPool::wait_for_job(std::uint64_t seen) {
  const auto there = [&] { return job_of(ticket_.load(std::memory_order_acquire)) != seen; };
  while (!spin(kSpin, relax, there) && !spin(
                                           kYield, [] { sched_yield(); }, there)) {
    sleepers_.fetch_add(1);
    const int before = alarm_.load();
    if (!there()) alarm_.wait(before);
    sleepers_.fetch_sub(1);
  }
  return job_of(ticket_.load(std::memory_order_acquire));
}

void ThreadPool::serve(int worker) {
  std::uint64_t seen = 0;
  while (!end_.load()) {
    seen = wait_for_job(seen);
    prefetch_above(job_.load(std::memory_order_relaxed));
    take_tasks(worker, kNoJob, [&] { done_.fetch_add(1, std::memory_order_release); });
  }
}

}  // namespace lq

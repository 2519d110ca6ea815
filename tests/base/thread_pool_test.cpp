#include "lib/base/thread_pool.h"

#include <doctest/doctest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "lib/base/parallel.h"

namespace {

using lq::ThreadPool;

}  // namespace

TEST_CASE("every task runs once, on workers that have entered, in every one of many jobs") {
  for (const int threads : {1, 2, 3, 7}) {
    CAPTURE(threads);
    ThreadPool pool(threads);
    REQUIRE(pool.threads() == threads);
    for (int job = 0; job < 400; ++job) {
      const int n = job % 23;
      std::vector<std::atomic<int>> count(23), entered(7);
      std::atomic<bool> uninvited{false};
      pool.run(
          n, [&](int worker) { ++entered[static_cast<std::size_t>(worker)]; },
          [&](int i, int worker) {
            if (entered[static_cast<std::size_t>(worker)] != 1) uninvited = true;
            ++count[static_cast<std::size_t>(i)];
          });
      REQUIRE(!uninvited);
      REQUIRE(entered[0] == 1);
      for (int i = 0; i < 23; ++i) REQUIRE(count[static_cast<std::size_t>(i)] == (i < n ? 1 : 0));
    }
  }
}

TEST_CASE("a worker that comes from one job straight into the next enters that, too") {
  // Happens when the next job begins between a worker's last task and its look for another one.
  for (const int threads : {2, 3, 7}) {
    CAPTURE(threads);
    ThreadPool pool(threads);
    std::vector<std::atomic<int>> entered(7);
    std::atomic<int> uninvited{0};
    for (int job = 1; job <= 100'000; ++job)
      pool.run(
          2 * threads, [&](int worker) { entered[static_cast<std::size_t>(worker)] = job; },
          [&](int, int worker) {
            if (entered[static_cast<std::size_t>(worker)] != job) ++uninvited;
          });
    CHECK(uninvited == 0);
  }
}

TEST_CASE("workers that have gone to sleep wake up") {
  ThreadPool pool(3);
  for (int job = 0; job < 5; ++job) {
    std::atomic<int> sum{0};
    pool.run(50, [&](int i, int) { sum += i; });
    CHECK(sum == 49 * 50 / 2);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

TEST_CASE("results of a job are visible to the next") {
  ThreadPool pool(4);
  std::vector<int> values(1000, 0);
  for (int round = 1; round <= 200; ++round)
    pool.run(20, [&](int i, int) {
      // Each task reads what another task of the job before has written.
      static_assert(1000 % 20 == 0);
      for (int j = 0; j < 50; ++j) {
        int& value = values[static_cast<std::size_t>(i * 50 + j)];
        value = value + 1;
      }
    });
  CHECK(values == std::vector<int>(1000, 200));
}

TEST_CASE("many more threads than cores do not stop each other") {
  const int threads = 3 * lq::available_threads();
  ThreadPool pool(threads), neighbour(threads);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) neighbour.run(threads, [](int, int) {});
  });
  const auto start = std::chrono::steady_clock::now();
  for (int job = 0; job < 300; ++job) pool.run(threads, [](int, int) {});
  const auto elapsed = std::chrono::steady_clock::now() - start;
  stop = true;
  busy.join();
  // A few time slices each at worst; threads that spin without end need minutes.
  CHECK(elapsed < std::chrono::seconds(20));
}

TEST_CASE("making a pool leaves the caller's cores alone") {
  cpu_set_t before, after;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  {
    ThreadPool pool(lq::available_threads());
    pool.run(10, [](int, int) {});
  }
  REQUIRE(sched_getaffinity(0, sizeof after, &after) == 0);
  CHECK(CPU_EQUAL(&before, &after));
}

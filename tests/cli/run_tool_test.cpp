// The harness itself: what the other tests rely on.
#include "tests/support/run_tool.h"

#include <doctest/doctest.h>

#include <csignal>

#include "tests/support/errors.h"

using namespace lq::test;
using namespace std::chrono_literals;

TEST_CASE("run_shell: a dialog on a terminal") {
  RunOptions options{.dialog = {{"name? ", "Ada\n"}, {"age? ", "36\n"}}};
  options.streams = Streams::all_on_tty;
  const auto run = run_shell(
      "test -t 0 && test -t 1 && test -t 2 || exit 9; printf 'name? '; read n; printf 'age? '; "
      "read a; echo \"$n is $a\"; exit 3",
      options);
  expect_status(run, 3);
  CHECK_MESSAGE(holds(run.out, "Ada is 36"), run.report());
}

TEST_CASE("run_shell: standard input, also when nobody reads it") {
  const auto run = run_shell("cat; echo error >&2", {.input = std::string(300'000, 'x')});
  expect_status(run, 0);
  CHECK(run.out.size() == 300'000);
  CHECK(run.err == "error\n");
  expect_status(run_shell("exit 0", {.input = std::string(300'000, 'x')}), 0);
}

TEST_CASE("run_shell: time limit, signals, memory and environment") {
  RunOptions slow;
  slow.timeout = 100ms;
  const auto late = run_shell("sleep 30", slow);
  CHECK(late.timed_out);
  CHECK(late.status == 128 + SIGKILL);
  RunOptions interrupted;
  interrupted.signal = SIGINT;
  interrupted.signal_after = 50ms;
  CHECK(run_shell("trap 'exit 7' INT; while :; do sleep 0.02; done", interrupted).status == 7);
  CHECK(run_shell("echo $LQ_X", {.env = {{"LQ_X", "y"}}}).out == "y\n");
  RunOptions small;
  small.memory_limit = 64 << 20;
  CHECK(run_shell("head -c 200000000 /dev/zero | tail -n 1 >/dev/null", small).status != 0);
  CHECK(run_shell("true").peak_memory_bytes > 100'000);
}

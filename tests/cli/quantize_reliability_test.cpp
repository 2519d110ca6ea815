// lq-quantize when it is killed, when a disk fails, and when it goes on after that.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>

#include "lib/base/random.h"
#include "tests/support/errors.h"
#include "tests/support/parts.h"
#include "tests/support/places.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;

namespace {

using std::filesystem::exists;
using std::filesystem::remove;

/// Kills a run that may be resumed at random moments. What is under the final name is the whole
/// file or nothing, and the next run completes it.
void kill_and_resume(int n_kills) {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 12288, DType::F16);
  const std::string out = (dir / "out.gguf").string(), whole = (dir / "whole.gguf").string();
  const auto undisturbed = run_expecting(0, "lq-quantize", {model, whole, "Q4_K_M", "-t", "2"});
  const std::string expected = file_content(whole);
  const std::vector<std::string> resumable = {model, out, "Q4_K_M", "-t", "2", "--resume", "-q"};
  Random random(7);
  int n_killed = 0;
  for (int i = 0; i < n_kills; ++i) {
    const auto after = std::chrono::milliseconds(
        1 + static_cast<int>(random.uniform() * static_cast<double>(undisturbed.wall.count())));
    const auto run = run_tool("lq-quantize", resumable, {.signal = SIGKILL, .signal_after = after});
    if (run.status == 128 + SIGKILL) ++n_killed;
    if (exists(out)) {
      CHECK(file_content(out) == expected);
      if (exists(dir / "out.gguf.lq-journal"))  // killed while it gave the file its name
        run_expecting(0, "lq-quantize", resumable);
    } else {
      run_expecting(0, "lq-quantize", resumable);
    }
    CHECK(file_content(out) == expected);
    CHECK(dir.names().size() == 3);
    remove(out);
  }
  CHECK(n_killed > 0);
}

ToolRun run_with_fault(const std::string& fault, const std::vector<std::string>& arguments) {
  return run_tool("lq-quantize", arguments,
                  {.env = {{"LD_PRELOAD", faults_library()},
                           {"LQ_FAULT", fault},
                           {"ASAN_OPTIONS", "verify_asan_link_order=0"}}});
}

/// One line for people, naming what failed.
void check_refusal(const ToolRun& run, int status, const char* why) {
  CHECK_MESSAGE(run.status == status, run.report());
  CHECK_MESSAGE(holds(run.err, why), run.report());
  CHECK(std::count(run.err.begin(), run.err.end(), '\n') == 1);
}

}  // namespace

TEST_CASE("killed at random moments, lq-quantize --resume completes the same file") {
  kill_and_resume(20);
}

TEST_CASE("killed at many random moments, lq-quantize --resume completes the same file [slow]") {
  kill_and_resume(200);
}

TEST_CASE("killed at random moments without --resume, lq-quantize leaves nothing") {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 8192, DType::F16);
  const std::string out = (dir / "out.gguf").string();
  run_expecting(0, "lq-quantize", {model, out, "Q4_K_M"});
  const std::string expected = file_content(out);
  remove(out);
  Random random(8);
  for (int i = 0; i < 10; ++i) {
    const std::chrono::milliseconds after(1 + static_cast<int>(random.uniform() * 150));
    const auto run = run_tool("lq-quantize", {model, out, "Q4_K_M", "-t", "2"},
                              {.signal = SIGKILL, .signal_after = after});
    if (exists(out)) CHECK(file_content(out) == expected);  // killed when all was done
    CHECK(dir.names().size() == (exists(out) ? 2 : 1));
    CHECK((run.status == 0 || run.status == 128 + SIGKILL));
    remove(out);
  }
}

TEST_CASE("calls of the system that fail end in one line, and nothing is left") {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 4096, DType::F16);
  const std::string out = (dir / "out.gguf").string();
  struct Fault {
    std::string fault;
    const char* why;
  };
  const Fault faults[] = {
      {"pwrite:1:" + std::to_string(ENOSPC), "no space left"},
      {"pwrite:3:" + std::to_string(ENOSPC), "no space left"},
      {"pwrite:2:" + std::to_string(EIO), "input/output error"},
      {"fallocate:1:" + std::to_string(ENOSPC), "no space left"},
      {"fallocate:1:" + std::to_string(EFBIG), "file too large"},
      {"fsync:1:" + std::to_string(EIO), "input/output error"},
      {"linkat:1:" + std::to_string(EDQUOT), "quota"},
  };
  for (const Fault& one : faults) {
    CAPTURE(one.fault);
    check_refusal(run_with_fault(one.fault, {model, out, "Q4_K_M", "-t", "2"}), 3, one.why);
    CHECK(dir.names() == std::vector<std::string>{"model.gguf"});
  }
  // The space cannot be reserved everywhere: then it is done without.
  const std::string unsupported = "fallocate:1:" + std::to_string(EOPNOTSUPP);
  expect_status(run_with_fault(unsupported, {model, out, "Q4_K_M"}), 0);
}

TEST_CASE("after a full disk the work goes on where it stopped") {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 8192, DType::F16);
  const std::string out = (dir / "out.gguf").string(), whole = (dir / "whole.gguf").string();
  run_expecting(0, "lq-quantize", {model, whole, "Q4_K_M"});
  const std::vector<std::string> resumable = {model, out, "Q4_K_M", "--resume"};
  const std::string fault = "pwrite:9:" + std::to_string(ENOSPC);
  CHECK(run_with_fault(fault, resumable).status == 3);
  CHECK(!exists(out));
  CHECK(exists(dir / "out.gguf.lq-partial"));
  const auto other = run_expecting(2, "lq-quantize", {model, out, "Q5_K_M", "--resume"});
  CHECK(holds(other.err, "of another input, other options"));
  CHECK(exists(dir / "out.gguf.lq-partial"));
  const auto again = run_expecting(0, "lq-quantize", resumable);
  CHECK_MESSAGE(holds(again.err, "going on"), again.report());
  CHECK(file_content(out) == file_content(whole));
  CHECK(dir.names().size() == 3);
  CHECK(holds(run_expecting(3, "lq-quantize", resumable).err, "exists already"));
  CHECK(dir.names().size() == 3);
}

TEST_CASE("a changed input is not mixed with what was kept") {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 8192, DType::F16);
  const std::string out = (dir / "out.gguf").string(), whole = (dir / "whole.gguf").string();
  const std::vector<std::string> resumable = {model, out, "Q4_K_M", "--resume"};
  CHECK(run_with_fault("pwrite:9:" + std::to_string(EIO), resumable).status == 3);
  std::string changed = file_content(model);
  changed.back() = static_cast<char>(changed.back() ^ 1);
  dir.write("model.gguf", changed);
  CHECK(holds(run_expecting(2, "lq-quantize", resumable).err, "--force begins anew"));
  run_expecting(0, "lq-quantize", {model, out, "Q4_K_M", "--resume", "--force"});
  run_expecting(0, "lq-quantize", {model, whole, "Q4_K_M"});
  CHECK(file_content(out) == file_content(whole));
}

TEST_CASE("places that cannot be written to are refused before the work") {
  const TempDir dir;
  const std::string model = write_matrix_model(dir, 16, DType::F16);
  const std::string missing = (dir / "no/such/out.gguf").string();
  check_refusal(run_tool("lq-quantize", {model, missing, "Q8_0"}), 3, "no such file");
  check_refusal(run_tool("lq-quantize", {model, missing, "Q8_0", "--resume"}), 3, "no such file");
  check_refusal(run_tool("lq-quantize", {model, (dir / "model.gguf/out").string(), "Q8_0"}), 3,
                "not a directory");
  CHECK(holds(run_expecting(2, "lq-quantize", {model, "/dev/null", "Q8_0", "--resume"}).err,
              "only an ordinary file"));
  check_refusal(run_tool("lq-quantize", {model, "/proc/out.gguf", "Q8_0"}), 3, "/proc/out.gguf");
  CHECK(dir.names() == std::vector<std::string>{"model.gguf"});
}

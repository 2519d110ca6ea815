// Files that nobody meant well with, given to the programs that open them.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;
using namespace std::chrono_literals;

namespace {

/// One clear line that names the file, the status of bad input, little time and memory.
void check_refused(const ToolRun& run, const std::string& name) {
  const bool refused = run.status == 4 && run.err.ends_with("\n") &&
                       std::count(run.err.begin(), run.err.end(), '\n') == 1 &&
                       holds(run.err, name) && run.out.empty();
  CHECK_MESSAGE(refused, run.report());
}

void check_cheap(const ToolRun& run) {
  CHECK_MESSAGE(run.cpu < 100ms, run.report());
  CHECK_MESSAGE(run.peak_memory_bytes < 64u << 20, run.report());
  CHECK_MESSAGE(run.err.size() < 2000, run.report());
}

}  // namespace

TEST_CASE("lq-run refuses every malformed model with one line, at once") {
  const TempDir dir;
  std::size_t n = 0;
  for (const MalformedModel& model : malformed_models()) {
    CAPTURE(model.name);
    const auto file = dir.write(model.name + ".gguf", model.bytes).string();
    const auto run = run_tool("lq-run", {file, "x", "-n", "1", "-t", "1"});
    check_cheap(run);
    check_refused(run, model.name);
    ++n;
  }
  CHECK(n > 100);
}

TEST_CASE("lq-convert inspect survives every malformed model") {
  const TempDir dir;
  for (const MalformedModel& model : malformed_models()) {
    CAPTURE(model.name);
    const auto file = dir.write(model.name + ".gguf", model.bytes).string();
    const auto run = run_tool("lq-convert", {"inspect", file});
    check_cheap(run);
    if (model.bad_container)
      check_refused(run, model.name);
    else  // what it says is shown, right or wrong, or refused
      CHECK_MESSAGE((run.status == 0 || run.status == 4), run.report());
  }
}

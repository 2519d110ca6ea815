#pragma once
// Starts the real tools and collects what they did.
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/temp_dir.h"

namespace lq::test {

/// What a tool's standard streams are connected to.
enum class Streams {
  pipes,         ///< three pipes
  error_on_tty,  ///< stderr is a terminal (80 columns), the others are pipes
  all_on_tty,    ///< all three are one terminal; its output is in `out`
};

/// One exchange with a tool on a terminal: once `wait_for` has been seen, `send` is typed.
struct Turn {
  std::string wait_for, send;
};

struct RunOptions {
  std::string input{};                       ///< on stdin, which is then closed
  std::vector<Turn> dialog{};                ///< instead of `input`, with Streams::all_on_tty
  std::map<std::string, std::string> env{};  ///< added to the environment; empty value: removed
  std::string directory{};                   ///< where the tool starts; empty: a fresh directory
  std::string stdout_path{};                 ///< written instead of a pipe, e.g. /dev/full
  Streams streams = Streams::pipes;
  std::chrono::milliseconds timeout{60'000};
  int signal = 0;  ///< sent `signal_after` the start, when not 0
  std::chrono::milliseconds signal_after{0};
  std::uint64_t memory_limit = 0;  ///< bytes of address space, when not 0
};

struct ToolRun {
  std::string command, directory, listing;  ///< for reports
  int status = -1;                          ///< exit status; 128 + signal when killed by one
  bool timed_out = false;
  std::string out, err;
  std::chrono::milliseconds wall{0};
  std::chrono::milliseconds cpu{0};     ///< of all threads, user and system
  std::uint64_t peak_memory_bytes = 0;  ///< largest resident set

  /// Everything about the run, to be printed when a test fails.
  std::string report() const;
};

/// Every tool that was built.
const std::vector<std::string>& all_tools();

/// Runs `tool` ("lq-run") with `arguments`.
ToolRun run_tool(std::string_view tool, const std::vector<std::string>& arguments,
                 const RunOptions& options = {});
/// Runs a shell command line in which the tools are found by name.
ToolRun run_shell(std::string_view command, const RunOptions& options = {});

/// Fails the test, with the whole report, unless the run ended with `status`. Returns the run.
const ToolRun& expect_status(const ToolRun& run, int status);
/// Runs and expects `status`.
ToolRun run_expecting(int status, std::string_view tool, const std::vector<std::string>& arguments,
                      const RunOptions& options = {});

}  // namespace lq::test

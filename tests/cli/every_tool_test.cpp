// What holds for every tool, whichever it is.
#include <doctest/doctest.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "lib/base/build_info.h"
#include "tests/support/errors.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;

TEST_CASE("every tool explains itself") {
  REQUIRE(all_tools().size() >= 4);
  for (const auto& tool : all_tools()) {
    CAPTURE(tool);
    const auto help = run_expecting(0, tool, {"--help"});
    CHECK(holds(help.out, "Usage: " + tool));
    CHECK(holds(help.out, "--version"));
    CHECK(holds(help.out, "Examples:"));
    CHECK(help.err.empty());
    CHECK(run_expecting(0, tool, {"-h"}).out == help.out);
  }
}

TEST_CASE("every tool says its version and its kernels") {
  for (const auto& tool : all_tools()) {
    CAPTURE(tool);
    const auto run = run_expecting(0, tool, {"--version"});
    CHECK(run.out.starts_with(tool + " " + build_info().version + "\n"));
    for (const char* line : {"build: ", "cpu kernels: generic", "chosen: ", "cuda: "})
      CHECK_MESSAGE(holds(run.out, line), run.report());
  }
}

TEST_CASE("LQ_CPU_ISA chooses the kernels, and only those there are") {
  const auto chosen =
      run_expecting(0, "lq-run", {"--version"}, {.env = {{"LQ_CPU_ISA", "generic"}}});
  CHECK_MESSAGE(holds(chosen.out, "chosen: generic\n"), chosen.report());
  const auto unknown = run_expecting(2, "lq-run", {"--version"}, {.env = {{"LQ_CPU_ISA", "avx9"}}});
  CHECK_MESSAGE(holds(unknown.err, "LQ_CPU_ISA: 'avx9' is not an instruction set"),
                unknown.report());
}

TEST_CASE("every tool names the option it does not know and the nearest one") {
  for (const auto& tool : all_tools()) {
    CAPTURE(tool);
    const auto run = run_expecting(2, tool, {"--colour=never", "x"});
    CHECK(run.err == tool + ": unknown option '--colour'; did you mean '--color'?\nTry '" + tool +
                         " --help'.\n");
    CHECK(run.out.empty());
  }
}

TEST_CASE("every tool names a bad value and the nearest good one") {
  for (const auto& tool : all_tools()) {
    CAPTURE(tool);
    const auto run = run_expecting(2, tool, {"--color", "nevr", "x"});
    CHECK(
        holds(run.err, "--color: 'nevr' is not one of auto, always, never; did you mean 'never'?"));
  }
}

TEST_CASE("every tool reports errors as JSON with --json") {
  for (const auto& tool : all_tools()) {
    CAPTURE(tool);
    const auto run = run_expecting(2, tool, {"--json", "--no-such-option", "x"});
    CHECK(run.out.empty());
    const auto object = nlohmann::json::parse(run.err, nullptr, false);
    REQUIRE_MESSAGE(object.is_object(), run.report());
    CHECK(object.value("schema", "") == "lq.error/1");
    CHECK(object.value("status", 0) == 2);
    CHECK(object.value("kind", "") == "usage");
    CHECK(object.value("lq_version", "") == build_info().version);
    CHECK(holds(object.value("message", ""), "--no-such-option"));
  }
}

TEST_CASE("every example of every tool parses") {
  for (const auto& tool : all_tools()) {
    CAPTURE(tool);
    CHECK(holds(run_expecting(0, tool, {"--generate", "examples"}).out, tool));
  }
}

TEST_CASE("every tool's stdout may be full or closed") {
  for (const auto& tool : all_tools()) {
    CAPTURE(tool);
    const auto full = run_expecting(3, tool, {"--help"}, {.stdout_path = "/dev/full"});
    CHECK(full.err == tool + ": stdout: No space left on device\n");
    const auto closed = run_shell(tool + " --help >&-");
    expect_status(closed, 3);
    // A reader that leaves early is no error, and nothing is said about it.
    const auto left = run_shell("{ " + tool +
                                " --help; echo $? >status; } | true; sleep 0.2; "
                                "cat status");
    CHECK_MESSAGE(left.out == "0\n", left.report());
    CHECK(left.err.empty());
  }
}

TEST_CASE("every tool's documentation is made for four readers") {
  for (const auto& tool : all_tools()) {
    CAPTURE(tool);
    const auto generated = [&](const char* what) {
      return run_expecting(0, tool, {"--generate", what}).out;
    };
    CHECK(holds(generated("man"), ".SH EXIT STATUS"));
    CHECK(holds(generated("bash"), "complete -o filenames -F"));
    CHECK(generated("zsh").starts_with("#compdef " + tool));
    CHECK(holds(generated("fish"), "complete -c " + tool));
  }
}

TEST_CASE("no control character of an argument reaches the terminal") {
  for (const auto& tool : all_tools()) {
    CAPTURE(tool);
    const auto run = run_expecting(2, tool, {"--\x1b[31mred\n"});
    CHECK(run.err.find('\x1b') == std::string::npos);
    CHECK(holds(run.err, "\\x1b[31mred\\x0a"));
  }
}

TEST_CASE("colour follows --color, NO_COLOR and the terminal") {
  const auto err = [](std::vector<std::string> arguments, RunOptions options) {
    arguments.insert(arguments.end(), {"x", "-t", "0"});
    return run_expecting(2, "lq-bench", arguments, options).err;
  };
  const RunOptions terminal{.env = {{"NO_COLOR", ""}, {"TERM", "xterm"}},
                            .streams = Streams::error_on_tty};
  RunOptions refused = terminal;
  refused.env["NO_COLOR"] = "1";
  CHECK(holds(err({}, terminal), "\x1b[31m"));
  CHECK_FALSE(holds(err({}, {}), "\x1b"));
  CHECK_FALSE(holds(err({}, refused), "\x1b"));
  CHECK_FALSE(holds(err({"--color=never"}, terminal), "\x1b"));
  CHECK(holds(err({"--color=always"}, refused), "\x1b[31m"));
}

TEST_CASE("bash completes options and their values") {
  for (const auto& tool : all_tools()) {
    CAPTURE(tool);
    std::string function = "_" + tool;
    function[function.find('-')] = '_';
    const auto completed = [&](const std::string& words, int at) {
      const auto run = run_shell("bash -c 'source <(" + tool + " --generate bash); COMP_WORDS=(" +
                                 tool + " " + words + "); COMP_CWORD=" + std::to_string(at) + "; " +
                                 function + "; printf \"%s\\n\" \"${COMPREPLY[@]}\"'");
      expect_status(run, 0);
      return run.out;
    };
    CHECK(completed("--colo", 1) == "--color\n");
    CHECK(completed("--color a", 2) == "auto\nalways\n");
    CHECK(holds(completed("x --", 2), "--version\n"));
  }
}

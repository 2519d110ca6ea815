#pragma once
// What one command-line tool is. Its help, man page, completions and tests come from this value.
#include <span>
#include <string>
#include <string_view>

#include "tools/cli/terminal.h"

namespace CLI {
class App;
}

namespace lq::cli {

/// Which of the options that all tools share a command has; the others are always there.
struct Common {
  bool threads = true;  ///< -t, --threads
  bool force = true;    ///< --force
  bool json = true;     ///< --json
};

/// What a command's action gets: the common options, resolved, and the way to talk to the user.
struct Context {
  TerminalMonitor& monitor;  ///< progress, warnings and notes on stderr; knows of Ctrl-C
  int threads = 1;
  bool quiet = false;
  bool json = false;   ///< results as one JSON object
  bool force = false;  ///< an existing output may be replaced
  bool color = false;  ///< stdout may be coloured
};

struct Example {
  const char* command;  ///< as typed in a shell
  const char* what;     ///< what it does, one line
};

/// A second word after the tool's name: `lq-convert inspect FILE`.
struct Command {
  const char* name;
  const char* summary;
  void (*declare)(CLI::App&);
  void (*execute)(const Context&);
  Common common = {};
};

struct Tool {
  const char* name;
  const char* summary;                       ///< one line, no full stop
  std::span<const char* const> description;  ///< paragraphs
  std::span<const Example> examples;         ///< each has to parse: a test tries
  void (*declare)(CLI::App&);
  void (*execute)(const Context&);
  Common common = {};
  std::span<const Command> commands = {};
};

/// Parses, runs and reports; returns the exit status. Everything `main` does.
int run(const Tool& tool, int argc, char** argv);

/// One row an exit status, for the table in the man pages.
struct ExitStatus {
  int status;
  const char* meaning;
};
std::span<const ExitStatus> exit_statuses();

}  // namespace lq::cli

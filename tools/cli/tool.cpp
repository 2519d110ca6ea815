#include "tools/cli/tool.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>
#include <vector>

#include "lib/base/build_info.h"
#include "lib/base/error.h"
#include "lib/base/parallel.h"
#include "tools/cli/about.h"
#include "tools/cli/docs.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/options.h"

namespace lq::cli {
namespace {

struct KindRow {
  ErrorKind kind;
  const char* name;
  int status;
};
constexpr KindRow kKinds[] = {
    {ErrorKind::failure, "failure", 1},
    {ErrorKind::usage, "usage", 2},
    {ErrorKind::file, "file", 3},
    {ErrorKind::input, "input", 4},
    {ErrorKind::unsupported, "unsupported", 4},
    {ErrorKind::resource, "resource", 5},
    {ErrorKind::check, "check", 6},
    {ErrorKind::truncated, "truncated", 7},
    {ErrorKind::interrupted, "interrupted", 130},
};
constexpr ExitStatus kStatuses[] = {
    {0, "Done"},
    {1, "Failed for a reason not listed here"},
    {2, "Wrong command line"},
    {3, "A file cannot be read or written"},
    {4, "The content of an input is invalid or not supported"},
    {5, "Not enough memory"},
    {6, "The work was done and the check that was asked for did not hold"},
    {7, "The answer was cut by a limit and the caller asked to hear of it"},
    {130, "Interrupted"},
};

const KindRow& row_of(ErrorKind kind) {
  return *std::find_if(std::begin(kKinds), std::end(kKinds),
                       [&](const KindRow& row) { return row.kind == kind; });
}

/// Messages quote file contents and arguments: control characters in them do not reach a terminal.
std::string printable(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f)
      out += c;
    else
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
  }
  return out;
}

/// One start of a tool: its arguments, and the common options as far as they are known.
class Run {
 public:
  Run(const Tool& tool, int argc, char** argv);
  /// Parses and acts; what goes wrong is thrown.
  void act();
  /// Says what went wrong; returns the exit status.
  int report(ErrorKind kind, std::string_view message) const;

 private:
  bool has(std::string_view flag) const {
    return std::find(args_.begin(), args_.end(), flag) != args_.end();
  }
  ColorMode color_mode() const;
  TerminalMonitor make_monitor() const;
  void show_help() const;

  const Tool& tool_;
  std::vector<std::string> args_;
  const Command* command_ = nullptr;
  CommonValues values_;
};

Run::Run(const Tool& tool, int argc, char** argv) : tool_(tool), args_(argv, argv + argc) {
  if (!args_.empty()) args_.erase(args_.begin());
  // The first word that is no option may name a command.
  const auto word = std::find_if(args_.begin(), args_.end(),
                                 [](const std::string& arg) { return !arg.starts_with("-"); });
  for (const Command& command : tool.commands)
    if (word != args_.end() && *word == command.name) command_ = &command;
  if (command_) args_.erase(word);
  // Errors of the command line itself follow these two already.
  values_.json = has("--json");
  for (const char* mode : {"auto", "always", "never"})
    if (has(std::string("--color=") + mode)) values_.color = mode;
}

ColorMode Run::color_mode() const {
  if (values_.color == "auto") return ColorMode::automatic;
  return values_.color == "always" ? ColorMode::always : ColorMode::never;
}

TerminalMonitor Run::make_monitor() const {
  return TerminalMonitor({.tool = tool_.name,
                          .quiet = values_.quiet,
                          .color = use_color(color_mode(), STDERR_FILENO),
                          .terminal = ::isatty(STDERR_FILENO) != 0});
}

void Run::show_help() const {
  const ToolDoc docs = describe(tool_);
  const std::string name = command_ ? command_->name : "";
  for (const CommandDoc& doc : docs.commands)
    if (doc.name == name) print(help_text(docs, doc, terminal_columns(STDOUT_FILENO, 80)));
}

void Run::act() {
  if (has("--version")) return print(version_text(tool_));
  // Hidden, alone on its command line: what the tool itself requires does not matter then.
  if (args_.size() == 2 && args_[0] == "--generate") return print(generate(tool_, args_[1]));

  const auto app = make_app(tool_, command_, values_);
  try {
    app->parse(std::vector<std::string>(args_.rbegin(), args_.rend()));
  } catch (const CLI::CallForHelp&) {
    return show_help();
  } catch (const CLI::ParseError& error) {
    fail(ErrorKind::usage, parse_message(error, *app));
  }
  auto monitor = make_monitor();
  const Context context{.monitor = monitor,
                        .threads = values_.threads ? values_.threads : available_threads(),
                        .quiet = values_.quiet,
                        .json = values_.json,
                        .force = values_.force,
                        .color = use_color(color_mode(), STDOUT_FILENO)};
  (command_ ? command_->execute : tool_.execute)(context);
}

int Run::report(ErrorKind kind, std::string_view message) const {
  const KindRow& row = row_of(kind);
  auto monitor = make_monitor();
  if (values_.json) {
    const nlohmann::json object = {{"schema", "lq.error/1"},
                                   {"lq_version", build_info().version},
                                   {"status", row.status},
                                   {"kind", row.name},
                                   {"message", message}};
    monitor.raw(object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    return row.status;
  }
  monitor.error(printable(message));
  if (kind == ErrorKind::usage)
    monitor.raw("Try '" + std::string(tool_.name) + (command_ ? " " : "") +
                (command_ ? command_->name : "") + " --help'.\n");
  return row.status;
}

}  // namespace

std::span<const ExitStatus> exit_statuses() { return kStatuses; }

int run(const Tool& tool, int argc, char** argv) {
  prepare_process();
  Run run(tool, argc, argv);
  try {
    run.act();
    return 0;
  } catch (const OutputClosed&) {
    return 0;
  } catch (const Error& error) {
    return run.report(error.kind(), error.what());
  } catch (const std::bad_alloc&) {
    return run.report(ErrorKind::resource, "not enough memory");
  } catch (const std::exception& error) {
    return run.report(ErrorKind::failure, error.what());
  }
}

}  // namespace lq::cli

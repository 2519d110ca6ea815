#pragma once
// A tool's documentation, all of it made from its Tool value and the parser that it declares.
#include <string>
#include <vector>

#include "tools/cli/tool.h"

namespace lq::cli {

struct OptionDoc {
  std::vector<std::string> names;  ///< "-t", "--threads"; a positional's own name
  std::string metavar;             ///< "N"; empty: a flag
  std::string description;
  std::string initial;               ///< the default; empty: none to show
  std::vector<std::string> choices;  ///< valid values, when they are a list
  std::string group;
  bool positional = false, required = false, many = false;
};

/// The tool itself (empty name) or one of its commands.
struct CommandDoc {
  std::string name, summary;
  std::vector<OptionDoc> options;  ///< positionals first, hidden ones left out
};

struct ToolDoc {
  const Tool* tool;
  std::vector<CommandDoc> commands;  ///< the tool itself first
};

ToolDoc describe(const Tool& tool);

/// `lq-convert inspect [options] FILE`
std::string usage_line(const ToolDoc& tool, const CommandDoc& command);
std::string help_text(const ToolDoc& tool, const CommandDoc& command, int columns);
std::string man_page(const ToolDoc& tool);
std::string bash_completion(const ToolDoc& tool);
std::string zsh_completion(const ToolDoc& tool);
std::string fish_completion(const ToolDoc& tool);

}  // namespace lq::cli

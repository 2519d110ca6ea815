// Completions for bash, zsh and fish.
#include <algorithm>
#include <string>

#include "tools/cli/docs.h"
#include "tools/cli/options.h"

namespace lq::cli {
namespace {

enum class Value { none, choices, file, directory, other };

Value value_kind(const OptionDoc& option) {
  if (!option.choices.empty()) return Value::choices;
  if (option.metavar.empty()) return Value::none;
  const auto& name = option.positional ? option.names.front() : option.metavar;
  if (option.metavar == "DIR" || name.ends_with("DIR")) return Value::directory;
  for (const char* file : {"FILE", "MODEL", "INPUT", "OUTPUT", "TEXT-FILE"})
    if (name.starts_with(file) || option.metavar.starts_with(file)) return Value::file;
  return Value::other;
}

/// `text` inside single quotes of a POSIX shell.
std::string in_quotes(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string function_name(const ToolDoc& tool) {
  std::string name = std::string("_") + tool.tool->name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::string header(const ToolDoc& tool, std::string_view shell) {
  return "# Made by " + std::string(tool.tool->name) + " --generate " + std::string(shell) +
         "; do not edit.\n";
}

/// The names of a tool's commands, separated by blanks.
std::string command_names(const ToolDoc& tool) {
  std::vector<std::string> names;
  for (const CommandDoc& command : tool.commands)
    if (!command.name.empty()) names.push_back(command.name);
  return join(names, " ");
}

std::string bash_value(const OptionDoc& option) {
  switch (value_kind(option)) {
    case Value::choices:
      return "COMPREPLY=($(compgen -W " + in_quotes(join(option.choices, " ")) + " -- \"$cur\"))";
    case Value::file:
      return "COMPREPLY=($(compgen -f -- \"$cur\"))";
    case Value::directory:
      return "COMPREPLY=($(compgen -d -- \"$cur\"))";
    default:
      return "COMPREPLY=()";
  }
}

std::string bash_command(const CommandDoc& command) {
  std::string cases, words;
  for (const OptionDoc& option : command.options) {
    if (option.positional) continue;
    for (const auto& name : option.names)
      if (name.starts_with("--")) words += (words.empty() ? "" : " ") + name;
    if (value_kind(option) != Value::none)
      cases += "        " + join(option.names, "|") + ") " + bash_value(option) + "; return ;;\n";
  }
  return "      case \"$prev\" in\n" + cases +
         "      esac\n"
         "      words=" +
         in_quotes(words) + " ;;\n";
}

std::string zsh_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_action(const OptionDoc& option) {
  const std::string label =
      ":" + (option.positional                               ? option.names.front()
             : option.metavar.find('|') == std::string::npos ? option.metavar
                                                             : std::string("value"));
  switch (value_kind(option)) {
    case Value::none:
      return option.positional ? label + ":_files" : "";
    case Value::choices:
      return label + ":(" + join(option.choices, " ") + ")";
    case Value::directory:
      return label + ":_files -/";
    case Value::file:
      return label + ":_files";
    default:
      return label + ": ";
  }
}

std::string zsh_arguments(const CommandDoc& command, std::string_view indent) {
  std::string out = "_arguments -s -S";
  int place = 0;
  for (const OptionDoc& option : command.options) {
    const std::string next = " \\\n" + std::string(indent);
    if (option.positional) {
      ++place;
      const std::string where = option.many       ? "*"
                                : option.required ? std::to_string(place)
                                                  : std::to_string(place) + ":";
      out += next + in_quotes(where + zsh_action(option));
      continue;
    }
    const std::string exclude = "(" + join(option.names, " ") + ")";
    for (const auto& name : option.names)
      out += next + in_quotes((option.many ? "*" : exclude) + name + "[" +
                              zsh_escaped(option.description) + "]" + zsh_action(option));
  }
  return out + "\n";
}

std::string fish_option(const ToolDoc& tool, const CommandDoc& command, const OptionDoc& option) {
  std::string line = std::string("complete -c ") + tool.tool->name;
  if (tool.commands.size() > 1) {
    line += command.name.empty()
                ? " -n " + in_quotes("not __fish_seen_subcommand_from " + command_names(tool))
                : " -n " + in_quotes("__fish_seen_subcommand_from " + command.name);
  }
  for (const auto& name : option.names)
    line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  switch (value_kind(option)) {
    case Value::none:
      break;
    case Value::choices:
      line += " -x -a " + in_quotes(join(option.choices, " "));
      break;
    case Value::file:
      line += " -r -F";
      break;
    case Value::directory:
      line += " -x -a '(__fish_complete_directories)'";
      break;
    case Value::other:
      line += " -x";
      break;
  }
  return line + " -d " + in_quotes(option.description) + "\n";
}

}  // namespace

std::string bash_completion(const ToolDoc& tool) {
  const std::string function = function_name(tool);
  std::string out = header(tool, "bash") + function + "() {\n" +
                    "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                    "  local words command=${COMP_WORDS[1]}\n"
                    "  case \"$command\" in\n";
  for (const CommandDoc& command : std::span(tool.commands).subspan(1))
    out += "    " + command.name + ")\n" + bash_command(command);
  out += "    *)\n" + bash_command(tool.commands[0]) + "  esac\n";
  out +=
      "  if [[ $cur == -* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n";
  if (tool.commands.size() > 1)
    out +=
        "  elif [[ $COMP_CWORD == 1 ]]; then\n"
        "    COMPREPLY=($(compgen -W " +
        in_quotes(command_names(tool)) + " -f -- \"$cur\"))\n";
  out += "  else\n    COMPREPLY=($(compgen -f -- \"$cur\"))\n  fi\n}\n";
  return out + "complete -o filenames -F " + function + " " + tool.tool->name + "\n";
}

std::string zsh_completion(const ToolDoc& tool) {
  std::string out = std::string("#compdef ") + tool.tool->name + "\n" + header(tool, "zsh");
  if (tool.commands.size() > 1) {
    out += "case \"$words[2]\" in\n";
    for (const CommandDoc& command : std::span(tool.commands).subspan(1))
      out += "  " + command.name + ")\n    shift words; (( CURRENT-- ))\n    " +
             zsh_arguments(command, "      ") + "    return ;;\n";
    out += "esac\n(( CURRENT == 2 )) && compadd " + command_names(tool) + "\n";
  }
  return out + zsh_arguments(tool.commands[0], "  ");
}

std::string fish_completion(const ToolDoc& tool) {
  std::string out = header(tool, "fish");
  for (const CommandDoc& command : std::span(tool.commands).subspan(1))
    out += std::string("complete -c ") + tool.tool->name + " -n __fish_use_subcommand -a " +
           command.name + " -d " + in_quotes(command.summary) + "\n";
  for (const CommandDoc& command : tool.commands)
    for (const OptionDoc& option : command.options)
      if (!option.positional) out += fish_option(tool, command, option);
  return out;
}

}  // namespace lq::cli

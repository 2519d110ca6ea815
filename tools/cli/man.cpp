// The man(7) page of a tool.
#include <algorithm>
#include <string>

#include "lib/base/build_info.h"
#include "tools/cli/docs.h"

namespace lq::cli {
namespace {

/// Text for roff: backslashes and hyphens escaped, no line starts a request.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (out.empty() || out.back() == '\n')
      if (c == '.' || c == '\'') out += "\\&";
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return out;
}

std::string bold(std::string_view text) { return "\\fB" + escaped(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + escaped(text) + "\\fR"; }

/// "a|b|c" is typed as it stands (a line may be broken after each), a name like FILE is filled in.
std::string metavar(const OptionDoc& option) {
  if (option.metavar.find('|') == std::string::npos) return italic(option.metavar);
  std::string out;
  for (const auto& value : option.choices) out += (out.empty() ? "" : "|\\:") + bold(value);
  return out;
}

std::string synopsis(const ToolDoc& tool, const CommandDoc& command) {
  std::string out = ".B " + escaped(tool.tool->name);
  if (!command.name.empty()) out += " " + escaped(command.name);
  out += "\n[\\fIoptions\\fR]";
  for (const OptionDoc& option : command.options) {
    if (!option.positional) continue;
    const std::string name = italic(option.names.front()) + (option.many ? "..." : "");
    out += option.required ? "\n" + name : "\n[" + name + "]";
  }
  return out + "\n";
}

std::string paragraph(const OptionDoc& option) {
  std::string out = ".TP\n";
  if (option.positional) {
    out += italic(option.names.front());
  } else {
    for (const auto& name : option.names)
      out += (&name == &option.names[0] ? "" : ", ") + bold(name);
    if (!option.metavar.empty()) out += " " + metavar(option);
  }
  out += "\n" + escaped(option.description);
  if (!option.description.ends_with(".")) out += ".";
  if (!option.initial.empty()) out += " The default is " + bold(option.initial) + ".";
  if (!option.choices.empty() && option.metavar.find('|') == std::string::npos) {
    out += "\n.IP\nOne of ";
    for (const auto& value : option.choices)
      out += (&value == &option.choices[0] ? "" : ", ") + bold(value);
    out += ".";
  }
  return out + "\n";
}

/// The options of a command in their groups; those that every command has only when `all`.
std::string options(const CommandDoc& command, bool all) {
  std::string out, group;
  for (const OptionDoc& option : command.options) {
    const std::string title = option.positional ? "Arguments" : option.group;
    if (!all && title == "Common options") continue;
    if (title != group && all) out += ".SS " + escaped(title) + "\n";
    group = title;
    out += paragraph(option);
  }
  return out;
}

std::string commands(const ToolDoc& tool) {
  if (tool.commands.size() < 2) return "";
  std::string out = ".SH COMMANDS\n";
  for (const CommandDoc& command : std::span(tool.commands).subspan(1)) {
    out += ".SS " + escaped(command.name) + "\n" + synopsis(tool, command) + ".PP\n" +
           escaped(command.summary) + ".\n";
    out += options(command, false);
  }
  return out +
         ".PP\nThe common options above are understood by every command that they make sense "
         "for.\n";
}

std::string exit_status() {
  std::string out = ".SH EXIT STATUS\n";
  for (const ExitStatus& row : exit_statuses())
    out += ".TP\n.B " + std::to_string(row.status) + "\n" + escaped(row.meaning) + ".\n";
  return out;
}

std::string examples(const Tool& tool) {
  if (tool.examples.empty()) return "";
  std::string out = ".SH EXAMPLES\n";
  for (const Example& example : tool.examples)
    out += ".TP\n" + bold(example.command) + "\n" + escaped(example.what) + ".\n";
  return out;
}

std::string see_also(const Tool& tool) {
  constexpr std::string_view kTools[] = {"lq-bench", "lq-convert", "lq-quantize", "lq-run"};
  std::string out;
  for (const std::string_view name : kTools)
    if (name != tool.name)
      out += std::string(out.empty() ? "" : ",\n") + ".BR " + escaped(name) + " (1)";
  return ".SH SEE ALSO\n" + out + "\n";
}

}  // namespace

std::string man_page(const ToolDoc& doc) {
  const Tool& tool = *doc.tool;
  std::string out = ".\\\" Made by " + std::string(tool.name) + " --generate man; do not edit.\n";
  out += ".TH " + escaped(upper(tool.name)) + " 1 \"\" \"lq " + std::string(build_info().version) +
         "\" \"lq manual\"\n.nh\n.ad l\n";
  out += ".SH NAME\n" + escaped(tool.name) + " \\- " + escaped(tool.summary) + "\n.SH SYNOPSIS\n";
  for (const CommandDoc& command : doc.commands)
    out += (command.name.empty() ? "" : ".br\n") + synopsis(doc, command);
  out += ".SH DESCRIPTION\n";
  for (const char* text : tool.description)
    out += (text == tool.description[0] ? "" : ".PP\n") + escaped(text) + "\n";
  out += ".SH OPTIONS\n" + options(doc.commands[0], true) + commands(doc) + exit_status();
  out +=
      ".SH ENVIRONMENT\n"
      ".TP\n.B LQ_CPU_ISA\nThe instruction set whose kernels are used, by the name that "
      "\\fB\\-\\-version\\fR lists. A name that is unknown, or not supported by the machine, is an "
      "error. Unset or empty: the best one.\n"
      ".TP\n.B NO_COLOR\nWhen set and not empty, no colour unless \\fB\\-\\-color\\fR asks for "
      "it.\n";
  return out + examples(tool) + see_also(tool);
}

}  // namespace lq::cli

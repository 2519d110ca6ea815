#include "tools/cli/docs.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "tools/cli/options.h"

namespace lq::cli {
namespace {

/// Names that CLI11 gives to C++ types, and what a reader should see instead.
constexpr std::array<std::array<std::string_view, 2>, 4> kTypeNames = {
    {{"TEXT", "TEXT"}, {"INT", "N"}, {"UINT", "N"}, {"FLOAT", "X"}}};

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

/// CLI11 says "TYPE:description of check:...": takes the metavar and the choices out of it.
void read_type(const CLI::Option& option, OptionDoc& doc) {
  const auto parts = split(option.get_type_name(), ':');
  doc.metavar = parts[0];
  const auto* plain = std::find_if(kTypeNames.begin(), kTypeNames.end(),
                                   [&](const auto& row) { return row[0] == parts[0]; });
  if (plain != kTypeNames.end()) doc.metavar = (*plain)[1];
  for (std::size_t i = 1; i < parts.size(); ++i) {
    if (parts[i].find('|') != std::string::npos) doc.choices = split(parts[i], '|');
    if (plain != kTypeNames.end()) doc.metavar = parts[i];
  }
}

OptionDoc describe_option(const CLI::Option& option) {
  OptionDoc doc;
  doc.positional = option.get_positional();
  if (doc.positional) {
    doc.names = {option.get_name(true)};
  } else {
    for (const auto& name : option.get_snames()) doc.names.push_back("-" + name);
    for (const auto& name : option.get_lnames()) doc.names.push_back("--" + name);
  }
  if (option.get_items_expected_max() > 0) read_type(option, doc);
  doc.description = option.get_description();
  doc.initial = option.get_default_str();
  doc.group = option.get_group();
  doc.required = option.get_required();
  doc.many = option.get_items_expected_max() > 1;
  return doc;
}

CommandDoc describe_command(const Tool& tool, const Command* command) {
  CommonValues values;
  const auto app = make_app(tool, command, values);
  CommandDoc doc;
  doc.name = command ? command->name : "";
  doc.summary = command ? command->summary : tool.summary;
  for (const CLI::Option* option : app->get_options())
    if (!option->get_group().empty()) doc.options.push_back(describe_option(*option));
  // Positionals first, then the tool's own groups, then what all tools have.
  const auto rank = [](const OptionDoc& option) {
    return option.positional ? 0 : option.group == "Common options" ? 2 : 1;
  };
  std::stable_sort(doc.options.begin(), doc.options.end(),
                   [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  return doc;
}

/// Breaks `text` into lines of at most `width` columns, each but the first behind `indent` spaces.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  std::istringstream words{std::string(text)};
  std::string out, word;
  std::size_t column = 0;
  while (words >> word) {
    if (column && column + 1 + word.size() > width) {
      out += '\n' + std::string(indent, ' ');
      column = 0;
    }
    if (column) out += ' ';
    out += word;
    column += word.size() + (column ? 1 : 0);
  }
  return out;
}

std::string option_heading(const OptionDoc& option) {
  if (option.positional) return option.names.front();
  std::string text = option.names.front().starts_with("--") ? "    " : "";
  for (const auto& name : option.names) text += (&name == &option.names[0] ? "" : ", ") + name;
  if (!option.metavar.empty()) text += " " + option.metavar;
  return text;
}

std::string option_text(const OptionDoc& option) {
  std::string text = option.description;
  if (!option.initial.empty()) text += " (default: " + option.initial + ")";
  return text;
}

void append_row(std::string& out, const std::string& heading, const std::string& text,
                std::size_t columns) {
  constexpr std::size_t kIndent = 26;
  out += "  " + heading;
  if (heading.size() + 4 > kIndent)
    out += '\n' + std::string(kIndent, ' ');
  else
    out += std::string(kIndent - 2 - heading.size(), ' ');
  out += wrapped(text, kIndent, columns - kIndent) + '\n';
}

void append_options(std::string& out, const CommandDoc& command, std::size_t columns) {
  std::string group;
  for (const OptionDoc& option : command.options) {
    const std::string title = option.positional ? "Arguments" : option.group;
    if (title != group) out += "\n" + title + ":\n";
    group = title;
    append_row(out, option_heading(option), option_text(option), columns);
  }
}

}  // namespace

ToolDoc describe(const Tool& tool) {
  ToolDoc doc{&tool, {describe_command(tool, nullptr)}};
  for (const Command& command : tool.commands)
    doc.commands.push_back(describe_command(tool, &command));
  return doc;
}

std::string usage_line(const ToolDoc& tool, const CommandDoc& command) {
  std::string line = tool.tool->name;
  if (!command.name.empty()) line += " " + command.name;
  line += " [options]";
  for (const OptionDoc& option : command.options) {
    if (!option.positional) continue;
    const std::string name = option.names.front() + (option.many ? "..." : "");
    line += option.required ? " " + name : " [" + name + "]";
  }
  return line;
}

std::string help_text(const ToolDoc& tool, const CommandDoc& command, int columns) {
  const auto width = static_cast<std::size_t>(std::clamp(columns, 60, 100));
  std::string out = command.summary + "\n\nUsage: " + usage_line(tool, command) + "\n";
  const bool whole = command.name.empty();
  if (whole && tool.commands.size() > 1) {
    for (const CommandDoc& other : std::span(tool.commands).subspan(1))
      out += "       " + usage_line(tool, other) + "\n";
    out += "\nCommands:\n";
    for (const CommandDoc& other : std::span(tool.commands).subspan(1))
      append_row(out, other.name, other.summary, width);
  }
  append_options(out, command, width);
  if (whole && !tool.tool->examples.empty()) {
    out += "\nExamples:\n";
    for (const Example& example : tool.tool->examples)
      out += std::string("  ") + example.command + "\n      " +
             wrapped(example.what, 6, width - 6) + "\n";
  }
  out += "\nManual: man " + std::string(tool.tool->name) + "\n";
  return out;
}

}  // namespace lq::cli

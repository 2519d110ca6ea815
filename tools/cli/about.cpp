#include "tools/cli/about.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <utility>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "lib/base/build_info.h"
#include "lib/base/error.h"
#include "tools/cli/docs.h"
#include "tools/cli/options.h"

namespace lq::cli {
namespace {

/// Splits a line of shell into words: blanks, single and double quotes, backslash. Operators like
/// `|` and `>` become words of their own.
std::vector<std::string> shell_words(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool open = false;
  char quote = 0;
  const auto finish = [&] {
    if (open) words.push_back(std::exchange(word, {}));
    open = false;
  };
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote) {
      if (c == quote)
        quote = 0;
      else
        word += c;
    } else if (c == '\'' || c == '"') {
      quote = c;
      open = true;
    } else if (c == ' ') {
      finish();
    } else if (std::string_view("|<>;&").find(c) != std::string_view::npos) {
      finish();
      words.emplace_back(1, c);
    } else {
      if (c == '\\' && i + 1 < line.size()) ++i;
      word += line[i];
      open = true;
    }
  }
  finish();
  return words;
}

/// Parses the part of an example that starts this tool. Throws Error(usage) when it is refused.
void check_example(const Tool& tool, std::string_view example) {
  const auto words = shell_words(example);
  auto begin = std::find(words.begin(), words.end(), tool.name);
  if (begin == words.end()) fail(ErrorKind::usage, example, ": does not start ", tool.name);
  ++begin;
  const auto is_operator = [](const std::string& word) {
    return word.size() == 1 && std::string_view("|<>;&").find(word[0]) != std::string_view::npos;
  };
  const auto end = std::find_if(begin, words.end(), is_operator);
  const Command* command = nullptr;
  for (const Command& candidate : tool.commands)
    if (begin != end && *begin == candidate.name) command = &candidate;
  if (command) ++begin;

  CommonValues values;
  const auto app = make_app(tool, command, values);
  std::vector<std::string> reversed(begin, end);
  std::reverse(reversed.begin(), reversed.end());
  try {
    app->parse(std::move(reversed));
  } catch (const CLI::ParseError& error) {
    fail(ErrorKind::usage, example, ": ", parse_message(error, *app));
  }
}

}  // namespace

std::string version_text(const Tool& tool) {
  const char* wanted = std::getenv("LQ_CPU_ISA");
  const auto* chosen = kernels::kernel_table(wanted ? wanted : "");
  std::ostringstream names;
  for (const auto& set : kernels::kernel_sets())
    names << (names.tellp() > 0 ? ", " : "") << set.table->name
          << (set.supported ? "" : " (not on this machine)");
  if (!chosen)
    fail(ErrorKind::usage, "LQ_CPU_ISA: '", wanted, "' is not an instruction set that works here; ",
         "built: ", names.str());
  const BuildInfo& info = build_info();
  std::ostringstream out;
  out << tool.name << ' ' << info.version << "\nbuild: " << info.build_type << ", " << info.compiler
      << "\ncpu kernels: " << names.str() << "; chosen: " << chosen->name << "\ncuda: " << info.cuda
      << '\n';
  return out.str();
}

std::string generate(const Tool& tool, std::string_view what) {
  const ToolDoc doc = describe(tool);
  if (what == "man") return man_page(doc);
  if (what == "bash") return bash_completion(doc);
  if (what == "zsh") return zsh_completion(doc);
  if (what == "fish") return fish_completion(doc);
  if (what != "examples")
    fail(ErrorKind::usage, "--generate: '", what, "' is not one of man, bash, zsh, fish, examples");
  std::string out;
  for (const Example& example : tool.examples) {
    check_example(tool, example.command);
    out += std::string(example.command) + "\n";
  }
  return out;
}

}  // namespace lq::cli

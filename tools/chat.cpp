#include "tools/chat.h"

#include <charconv>
#include <cstdlib>

#include "lib/jobs/answer_report.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/line_editor.h"

namespace lq {
namespace {

class Chat {
 public:
  Chat(const Model& model, Conversation& conversation, Session& session,
       const ChatSettings& settings, const cli::Context& context)
      : model_(model),
        conversation_(conversation),
        session_(session),
        settings_(settings),
        context_(context),
        sampler_(settings.sampler, settings.seed),
        editor_("lq-run", cli::state_file("run_history")) {}

  void run() {
    context_.monitor.note(model_.source().name() + ": /help lists the commands, Ctrl-D leaves");
    if (!conversation_.has_template())
      context_.monitor.note("no chat template: what you type is continued as it is");
    std::string text;
    while (!finished_ && read_message(text)) {
      if (text.empty()) continue;
      editor_.remember(text);
      if (text[0] == '/')
        command(text);
      else
        say(text);
    }
  }

 private:
  struct Command {
    const char* name;
    const char* arguments;
    const char* help;
    void (Chat::*run)(const std::string& argument);
  };
  static std::span<const Command> commands();

  /// A line, or several between lines of """. False at the end of the input.
  bool read_message(std::string& text) {
    text.clear();
    bool several = false;
    std::string line;
    for (;;) {
      const auto result = editor_.read(several ? ". " : "> ", line);
      if (result == cli::LineEditor::Result::end) {
        cli::print("\n");
        return false;
      }
      if (result == cli::LineEditor::Result::interrupted) {
        cli::print("\n");
        text.clear();
        several = false;
        continue;
      }
      if (!several && line.starts_with("\"\"\"")) {
        several = true;
        line.erase(0, 3);
        if (line.empty()) continue;
      }
      if (!several) {
        text = line;
        return true;
      }
      const bool closes = line.ends_with("\"\"\"");
      if (closes) line.erase(line.size() - 3);
      text += (text.empty() ? "" : "\n") + line;
      if (closes) return true;
    }
  }

  void say(const std::string& text) {
    conversation_.messages().push_back({"user", text});
    try {
      answer();
    } catch (const Error& error) {  // e.g. a template that refuses these messages
      if (error.kind() != ErrorKind::input) throw;
      context_.monitor.warning(error.what());
      conversation_.messages().pop_back();
    }
  }

  void answer() {
    const std::vector<TokenId> ids = fitting_prompt();
    if (ids.empty()) return;
    if (settings_.show_prompt) context_.monitor.note("prompt:\n" + conversation_.prompt());
    Answer answer;
    try {
      session_.set_prompt(ids, context_.monitor);
      answer = session_.generate(
          sampler_, settings_.generate, [](std::string_view part) { cli::print(part); },
          context_.monitor);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::interrupted) throw;
      answer.finish = FinishReason::interrupted;
    }
    cli::clear_stop();
    cli::print("\n");
    conversation_.messages().push_back({"assistant", answer.text});
    if (answer.finish == FinishReason::interrupted) context_.monitor.note("stopped");
    if (answer.finish == FinishReason::context)
      context_.monitor.note("the context is full; /clear starts anew, -c sets its size");
    if (settings_.stats) statistics({});
  }

  /// The prompt's tokens; the oldest turns are forgotten while it does not fit. Empty when it
  /// cannot.
  std::vector<TokenId> fitting_prompt() {
    auto& messages = conversation_.messages();
    for (;;) {
      std::vector<TokenId> ids = conversation_.prompt_ids();
      if (ids.size() < static_cast<std::size_t>(session_.context())) return ids;
      const std::size_t first = !messages.empty() && messages[0].role == "system" ? 1 : 0;
      if (messages.size() < first + 3) {
        context_.monitor.warning(
            "this message does not fit in the context; ask for a larger one with -c");
        messages.pop_back();
        return {};
      }
      const auto oldest = messages.begin() + static_cast<std::ptrdiff_t>(first);
      messages.erase(oldest, oldest + 2);
      context_.monitor.note("the context is full: the oldest turn was forgotten");
    }
  }

  void command(const std::string& text) {
    const std::size_t space = text.find(' ');
    const std::string name = text.substr(1, space == std::string::npos ? space : space - 1);
    const std::string argument = space == std::string::npos ? "" : text.substr(space + 1);
    for (const Command& candidate : commands())
      if (name == candidate.name) return (this->*candidate.run)(argument);
    context_.monitor.warning("no command /" + name + "; /help lists them");
  }

  void help(const std::string&) {
    std::string text;
    for (const Command& command : commands()) {
      std::string left = std::string("/") + command.name + " " + command.arguments;
      left.resize(std::max<std::size_t>(left.size(), 22), ' ');
      text += left + command.help + "\n";
    }
    cli::print(text + "\"\"\"                   begins and ends a message of several lines\n");
  }

  void exit(const std::string&) { finished_ = true; }

  void clear(const std::string&) {
    auto& messages = conversation_.messages();
    const bool system = !messages.empty() && messages[0].role == "system";
    messages.resize(system ? 1 : 0);
  }

  void regenerate(const std::string&) {
    auto& messages = conversation_.messages();
    if (!messages.empty() && messages.back().role == "assistant") messages.pop_back();
    if (messages.empty() || messages.back().role != "user")
      return context_.monitor.warning("there is no answer to make again");
    answer();
  }

  void system(const std::string& text) {
    auto& messages = conversation_.messages();
    if (!messages.empty() && messages[0].role == "system") messages.erase(messages.begin());
    if (!text.empty()) messages.insert(messages.begin(), {"system", text});
  }

  void set(const std::string& text) {
    const std::size_t space = text.find(' ');
    const std::string name = text.substr(0, space);
    for (const SamplerNumber& number : sampler_numbers())
      if (name == number.name || "--" + name == number.option)
        return space == std::string::npos ? show(number) : change(number, text.substr(space + 1));
    if (!name.empty()) context_.monitor.warning("no setting " + name);
    for (const SamplerNumber& number : sampler_numbers()) show(number);
  }

  void show(const SamplerNumber& number) {
    char value[32];
    std::snprintf(value, sizeof value, "%g", settings_.sampler.*number.field);
    cli::print(std::string(number.option + 2) + " " + value + "\n");
  }

  void change(const SamplerNumber& number, const std::string& text) {
    double value = 0;
    const auto end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data(), end, value);
    if (parsed.ec != std::errc() || parsed.ptr != end ||
        !(value >= number.least && value <= number.most) ||
        (number.whole && value != static_cast<double>(static_cast<std::int64_t>(value)))) {
      char range[96];
      std::snprintf(range, sizeof range, "; expected %s from %g to %g",
                    number.whole ? "a whole number" : "a number", number.least, number.most);
      return context_.monitor.warning("'" + text + "' is no " + (number.option + 2) + range);
    }
    settings_.sampler.*number.field = value;
    sampler_ = Sampler(settings_.sampler, settings_.seed);
  }

  void statistics(const std::string&) { context_.monitor.note(stats_text(session_.timings())); }

  const Model& model_;
  Conversation& conversation_;
  Session& session_;
  ChatSettings settings_;
  const cli::Context& context_;
  Sampler sampler_;
  cli::LineEditor editor_;
  bool finished_ = false;
};

std::span<const Chat::Command> Chat::commands() {
  static constexpr Command kCommands[] = {
      {"help", "", "this list", &Chat::help},
      {"exit", "", "leave (also Ctrl-D)", &Chat::exit},
      {"clear", "", "forget the conversation, keep the system message", &Chat::clear},
      {"regen", "", "another answer to the last message", &Chat::regenerate},
      {"system", "[TEXT]", "set the system message; without a text remove it", &Chat::system},
      {"set", "[NAME [VALUE]]", "show or change how tokens are sampled", &Chat::set},
      {"stats", "", "speed of the last answer", &Chat::statistics},
  };
  return kCommands;
}

}  // namespace

void chat(const Model& model, Conversation& conversation, Session& session,
          const ChatSettings& settings, const cli::Context& context) {
  Chat(model, conversation, session, settings, context).run();
}

}  // namespace lq

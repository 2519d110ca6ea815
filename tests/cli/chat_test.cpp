// Chats with lq-run on a terminal.
#include <doctest/doctest.h>

#include <filesystem>

#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/models.h"
#include "tests/support/run_tool.h"

using namespace lq;
using namespace lq::test;

namespace {

constexpr char kParis[] = "The capital of France is Paris.";

struct ChatFixture {
  TempDir dir;
  std::string demo = convert_checkpoint(dir, "lq-demo", DType::BF16).string();

  ToolRun talk(const std::string& model, std::vector<std::string> arguments,
               std::vector<Turn> dialog, int status = 0) const {
    RunOptions options{
        .dialog = std::move(dialog),
        .env = {{"XDG_STATE_HOME", (dir / "state").string()}, {"TERM", "dumb"}, {"NO_COLOR", "1"}}};
    options.streams = Streams::all_on_tty;
    options.timeout = std::chrono::milliseconds(20'000);
    arguments.insert(arguments.begin(), {model, "-t", "1", "--temp", "0"});
    return run_expecting(status, "lq-run", arguments, options);
  }
};

bool in_order(const std::string& text, std::initializer_list<const char*> parts) {
  std::size_t at = 0;
  for (const char* part : parts) {
    at = text.find(part, at);
    if (at == std::string::npos) {
      MESSAGE("missing, or in another order: " << part);
      return false;
    }
  }
  return true;
}

}  // namespace

TEST_CASE("chat: questions, answers and what was said before; Ctrl-D leaves") {
  const ChatFixture f;
  const auto run = f.talk(f.demo, {},
                          {{"> ", "My name is Anna.\n"},
                           {"\n> ", "What is my name?\n"},
                           {"Your name is Anna.", ""},
                           {"\n> ", "/regen\n"},
                           {"Your name is Anna.", ""},
                           {"\n> ", "\x04"}});
  CHECK_MESSAGE(in_order(run.out, {"/help lists the commands", "Nice to meet you, Anna!",
                                   "Your name is Anna.", "Your name is Anna."}),
                run.report());
  const auto history = f.dir / "state/lq/run_history";
  REQUIRE(std::filesystem::exists(history));
  const std::string lines = file_content(history);
  CHECK(holds(lines, "What"));
  // What was typed once can be had again: arrow up.
  const auto again = f.talk(f.demo, {"--show-prompt"},
                            {{"> ", "\x10\x10\n"}, {"assistant", ""}, {"\n> ", "/exit\n"}});
  CHECK_MESSAGE(holds(again.out, "user\r\nWhat is my name?<|im_end|>"), again.report());
}

TEST_CASE("chat: commands") {
  const ChatFixture f;
  const auto run = f.talk(f.demo, {"--stats"},
                          {{"> ", "/help\n"},
                           {"several lines", ""},
                           {"\n> ", "/set\n"},
                           {"temp 0", ""},
                           {"\n> ", "/set top-k 7\n"},
                           {"\n> ", "/set top-k\n"},
                           {"top-k 7", ""},
                           {"\n> ", "/set top-k many\n"},
                           {"a whole number from 0", ""},
                           {"\n> ", "/set nothing 3\n"},
                           {"no setting nothing", ""},
                           {"\n> ", "/nothing\n"},
                           {"no command /nothing", ""},
                           {"\n> ", "/regen\n"},
                           {"no answer to make again", ""},
                           {"\n> ", "/system Answer in upper case.\n"},
                           {"\n> ", "What is the opposite of hot?\n"},
                           {"THE OPPOSITE OF HOT IS COLD.", ""},
                           {"26 prompt tokens (0 cached)", ""},
                           {"\n> ", "/clear\n"},
                           {"\n> ", "/system\n"},
                           {"\n> ", "What is the capital of France?\n"},
                           {kParis, ""},
                           {"15 prompt tokens", ""},
                           {"\n> ", "/stats\n"},
                           {"15 prompt tokens", ""},
                           {"\n> ", "/exit\n"}});
  CHECK_MESSAGE(in_order(run.out, {"/regen", "/system [TEXT]", "/set [NAME [VALUE]]", "\"\"\""}),
                run.report());
}

TEST_CASE("chat: a message of several lines, and an empty one") {
  const ChatFixture f;
  const auto run = f.talk(f.demo, {"--show-prompt", "-n", "1"},
                          {{"> ", "\n"},
                           {"> ", "\"\"\"one\n"},
                           {". ", "two\n"},
                           {". ", "three\"\"\"\n"},
                           {"assistant", ""},
                           {"\n> ", "\x04"}});
  CHECK_MESSAGE(holds(run.out, "user\r\none\r\ntwo\r\nthree<|im_end|>"), run.report());
}

TEST_CASE("chat: Ctrl-C stops the answer; the chat goes on") {
  const ChatFixture f;
  // Its likeliest tokens repeat for ever.
  const auto endless = f.dir.write("endless.gguf", tiny_llama().build()).string();
  const auto run = f.talk(endless, {"-c", "1000000"},
                          {{"> ", "xyz\n"},
                           {"\xef\xbf\xbd", "\x03"},  // of its answer, not of the echo
                           {"stopped", ""},
                           {"\n> ", "/stats\n"},
                           {"prompt tokens", ""},
                           {"\n> ", "\x04"}});
  CHECK_MESSAGE(holds(run.out, "no chat template"), run.report());
}

TEST_CASE("chat: a context that is too small forgets the oldest turn, and says so") {
  const ChatFixture f;
  const auto run = f.talk(f.demo, {"-c", "40"},
                          {{"> ", "What is the capital of France?\n"},
                           {kParis, ""},
                           {"\n> ", "What is the opposite of hot?\n"},
                           {"the oldest turn was forgotten", ""},
                           {"cold", ""},
                           {"\n> ", std::string(200, 'x') + "\n"},
                           {"does not fit in the context", ""},
                           {"\n> ", "\x04"}});
  CHECK(run.status == 0);
}

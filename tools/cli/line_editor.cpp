#include "tools/cli/line_editor.h"

#include <histedit.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>

#include "tools/cli/interrupt.h"

namespace lq::cli {
namespace {

constexpr int kHistoryEntries = 1000;

/// libedit turns bytes into characters by the locale; without a UTF-8 one it would cut characters.
void use_utf8_locale() {
  const char* current = std::setlocale(LC_CTYPE, "");
  if (!current || !std::strstr(current, "UTF-8")) std::setlocale(LC_CTYPE, "C.UTF-8");
}

/// The next character of standard input for libedit: 1, 0 at the end, -1 once the user asked to
/// stop. Looks for that between short waits: a signal that comes just before a read would not end
/// it.
int read_character(EditLine*, wchar_t* out) {
  constexpr int kWaitMilliseconds = 50;
  std::mbstate_t state{};
  for (;;) {
    if (stop_requested()) {
      errno = EINTR;
      return -1;
    }
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (::poll(&input, 1, kWaitMilliseconds) <= 0) continue;
    char byte = 0;
    const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return static_cast<int>(n);
    const std::size_t used = std::mbrtowc(out, &byte, 1, &state);
    if (used == static_cast<std::size_t>(-2)) continue;  // more bytes belong to it
    if (used == static_cast<std::size_t>(-1)) *out = L'?';
    return 1;
  }
}

}  // namespace

struct LineEditor::State {
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::filesystem::path history_file;
  const char* prompt = "";

  static char* current_prompt(EditLine* editor) {
    State* state = nullptr;
    el_get(editor, EL_CLIENTDATA, &state);
    return const_cast<char*>(state->prompt);
  }
};

LineEditor::LineEditor(const char* program, std::filesystem::path history_file)
    : state_(new State) {
  use_utf8_locale();
  state_->history_file = std::move(history_file);
  state_->editor = el_init(program, stdin, stdout, stderr);
  state_->history = history_init();
  HistEvent event;
  history(state_->history, &event, H_SETSIZE, kHistoryEntries);
  history(state_->history, &event, H_SETUNIQUE, 1);
  if (!state_->history_file.empty())
    history(state_->history, &event, H_LOAD, state_->history_file.c_str());
  el_set(state_->editor, EL_CLIENTDATA, state_);
  el_set(state_->editor, EL_GETCFN, &read_character);
  el_set(state_->editor, EL_PROMPT, &State::current_prompt);
  el_set(state_->editor, EL_EDITOR, "emacs");
  el_set(state_->editor, EL_HIST, ::history, state_->history);
  el_set(state_->editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
}

LineEditor::~LineEditor() {
  HistEvent event;
  if (!state_->history_file.empty()) {
    std::error_code ignored;
    std::filesystem::create_directories(state_->history_file.parent_path(), ignored);
    history(state_->history, &event, H_SAVE, state_->history_file.c_str());
  }
  history_end(state_->history);
  el_end(state_->editor);
  delete state_;
}

LineEditor::Result LineEditor::read(const char* prompt, std::string& line) {
  state_->prompt = prompt;
  int length = 0;
  errno = 0;
  // libedit shows the prompt first and only then takes the terminal over: a key in between would be
  // lost.
  el_set(state_->editor, EL_PREP_TERM, 1);
  const char* text = el_gets(state_->editor, &length);
  if (stop_requested()) {
    clear_stop();
    el_reset(state_->editor);
    return Result::interrupted;
  }
  if (!text || length <= 0) return Result::end;
  line.assign(text, static_cast<std::size_t>(length));
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
  return Result::line;
}

void LineEditor::remember(const std::string& entry) {
  HistEvent event;
  history(state_->history, &event, H_ENTER, entry.c_str());
}

std::filesystem::path state_file(const char* name) {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state && *state) return std::filesystem::path(state) / "lq" / name;
  const char* home = std::getenv("HOME");
  if (home && *home) return std::filesystem::path(home) / ".local/state/lq" / name;
  return {};
}

}  // namespace lq::cli

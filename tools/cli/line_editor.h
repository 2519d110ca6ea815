#pragma once
// One line at a time from the user's terminal, with editing and history (libedit).
#include <filesystem>
#include <optional>
#include <string>

namespace lq::cli {

class LineEditor {
 public:
  enum class Result { line, interrupted, end };

  /// History is read from `history_file` and kept there; an empty path, or one that cannot be
  /// written, means that it ends with the process.
  LineEditor(const char* program, std::filesystem::path history_file);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  /// Reads a line, without its newline, into `line`. Ctrl-C gives `interrupted`, Ctrl-D on an empty
  /// line `end`.
  Result read(const char* prompt, std::string& line);
  void remember(const std::string& entry);

 private:
  struct State;
  State* state_;
};

/// $XDG_STATE_HOME/lq/NAME, or below ~/.local/state; empty without a home.
std::filesystem::path state_file(const char* name);

}  // namespace lq::cli

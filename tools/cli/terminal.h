#pragma once
// What the tools write: results to stdout, progress, notes and warnings to stderr.
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "lib/base/monitor.h"

namespace lq::cli {

/// Writes all of `text` to stdout, at once. Throws Error(file) when it cannot be written,
/// OutputClosed when the reader went away. The only way a tool writes to stdout.
void print(std::string_view text);

/// Nobody reads stdout any more: the process ends quietly.
struct OutputClosed {};

enum class ColorMode { automatic, always, never };
/// May colour be used on descriptor `fd`? Follows NO_COLOR and TERM=dumb when automatic.
bool use_color(ColorMode mode, int fd);
/// Columns of the terminal behind `fd`, or `otherwise`.
int terminal_columns(int fd, int otherwise);

/// "1.50 GiB", "12 B".
std::string human_bytes(double bytes);
/// "0:07", "1:02:03".
std::string human_time(double seconds);

/// What a line of progress is made of.
struct Progress {
  std::string what;
  std::uint64_t done = 0, total = 0;  ///< total 0: not known
  Unit unit = Unit::items;
  double seconds = 0;  ///< since the phase began
};
/// `what [#####     ] 50 %  1.0 / 2.0 GiB  800 MiB/s  ETA 0:02` in at most `columns` columns.
std::string progress_bar(const Progress& progress, int columns);
/// The same facts for a log: no bar.
std::string progress_line(const Progress& progress);

/// Shows a job's progress on stderr: a bar on a terminal, a line every 10 s elsewhere.
class TerminalMonitor : public Monitor {
 public:
  using Clock = std::chrono::steady_clock;
  struct Settings {
    std::string tool;    ///< put before warnings and notes
    bool quiet = false;  ///< no progress, no notes
    bool color = false;
    bool terminal = false;  ///< stderr is one
    int fd = 2;
    std::function<Clock::time_point()> now = Clock::now;
  };
  explicit TerminalMonitor(Settings settings) : settings_(std::move(settings)) {}
  ~TerminalMonitor() override;

  void warning(std::string_view text) override;
  void begin(std::string_view what, std::uint64_t total, Unit unit) override;
  void advance(std::uint64_t amount) override;
  void end() override;
  bool stop_requested() const override;

  /// One line on stderr about what was done; not with --quiet.
  void note(std::string_view text);
  /// One line on stderr in red: an error.
  void error(std::string_view text);
  /// `text` on stderr as it is.
  void raw(std::string_view text);

 private:
  void say(std::string_view color, std::string_view label, std::string_view text);
  void show();
  void clear_line();
  void write(std::string_view text);

  Settings settings_;
  Progress progress_;
  Clock::time_point begun_, shown_;
  bool active_ = false, line_open_ = false;
};

}  // namespace lq::cli

#include "tools/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "lib/base/error.h"
#include "tools/cli/interrupt.h"

namespace lq::cli {
namespace {

using namespace std::chrono_literals;
constexpr auto kBarInterval = 100ms;
constexpr auto kLineInterval = 10s;

/// Writes all of `text`; false and errno when that fails.
bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string amount(double value, Unit unit) {
  if (unit == Unit::bytes) return human_bytes(value);
  return formatted(value < 10 && value != std::floor(value) ? "%.1f" : "%.0f", value);
}

std::string rate(const Progress& p) {
  if (p.seconds <= 0) return "";
  const std::string text = amount(static_cast<double>(p.done) / p.seconds, p.unit);
  return text + (p.unit == Unit::tokens ? " tokens/s" : "/s");
}

double fraction(const Progress& p) {
  return std::min(1.0, static_cast<double>(p.done) / static_cast<double>(p.total));
}

std::string facts(const Progress& p) {
  std::string text = amount(static_cast<double>(p.done), p.unit);
  if (p.total) text += " / " + amount(static_cast<double>(p.total), p.unit);
  if (p.done && p.seconds > 0) text += "  " + rate(p);
  if (p.total && p.done && p.done < p.total)
    text += "  ETA " + human_time(p.seconds * (1 / fraction(p) - 1));
  return text;
}

std::string percent(const Progress& p) { return formatted("%3.0f %%", 100 * fraction(p)); }

}  // namespace

void print(std::string_view text) {
  if (write_all(STDOUT_FILENO, text)) return;
  if (errno == EPIPE) throw OutputClosed();
  fail(ErrorKind::file, "stdout: ", std::strerror(errno));
}

bool use_color(ColorMode mode, int fd) {
  if (mode != ColorMode::automatic) return mode == ColorMode::always;
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return ::isatty(fd) && !(no_color && *no_color) && !(term && std::string_view(term) == "dumb");
}

int terminal_columns(int fd, int otherwise) {
  winsize size = {};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return otherwise;
  return size.ws_col;
}

std::string human_bytes(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  const char* format = unit == 0 || bytes >= 100 ? "%.0f " : bytes >= 10 ? "%.1f " : "%.2f ";
  return formatted(format, bytes) + kUnits[unit];
}

std::string human_time(double seconds) {
  const auto total = static_cast<std::uint64_t>(std::clamp(seconds, 0.0, 3.6e8) + 0.5);
  char text[64];
  if (total >= 3600)
    std::snprintf(text, sizeof text, "%llu:%02llu:%02llu",
                  static_cast<unsigned long long>(total / 3600),
                  static_cast<unsigned long long>(total / 60 % 60),
                  static_cast<unsigned long long>(total % 60));
  else
    std::snprintf(text, sizeof text, "%llu:%02llu", static_cast<unsigned long long>(total / 60),
                  static_cast<unsigned long long>(total % 60));
  return text;
}

std::string progress_bar(const Progress& p, int columns) {
  const std::string tail = facts(p);
  std::string line = p.what + " ";
  if (p.total) {
    const int room = columns - static_cast<int>(line.size() + tail.size()) - 10;
    if (const int width = std::min(room, 40); width >= 5) {
      const int filled = static_cast<int>(fraction(p) * width);
      line += '[' + std::string(static_cast<std::size_t>(filled), '#') +
              std::string(static_cast<std::size_t>(width - filled), ' ') + "] ";
    }
    line += percent(p) + "  ";
  }
  line += tail;
  if (static_cast<int>(line.size()) > columns) line.resize(static_cast<std::size_t>(columns));
  return line;
}

std::string progress_line(const Progress& p) {
  return p.what + ": " + (p.total ? percent(p) + "  " : "") + facts(p);
}

TerminalMonitor::~TerminalMonitor() { clear_line(); }

bool TerminalMonitor::stop_requested() const { return cli::stop_requested(); }

void TerminalMonitor::write(std::string_view text) {
  // Nowhere is left to report that stderr cannot be written.
  [[maybe_unused]] const bool written = write_all(settings_.fd, text);
}

void TerminalMonitor::clear_line() {
  if (line_open_) write("\r\x1b[K");
  line_open_ = false;
}

void TerminalMonitor::say(std::string_view color, std::string_view label, std::string_view text) {
  clear_line();
  std::string line = settings_.tool + ": ";
  if (settings_.color && !label.empty())
    line.append("\x1b[").append(color).append("m").append(label).append("\x1b[0m");
  else
    line += label;
  write(line.append(text).append("\n"));
}

void TerminalMonitor::warning(std::string_view text) { say("33", "warning: ", text); }

void TerminalMonitor::note(std::string_view text) {
  if (!settings_.quiet) say("", "", text);
}

void TerminalMonitor::error(std::string_view text) {
  clear_line();
  std::string line = settings_.color ? "\x1b[31m" : "";
  line.append(settings_.tool).append(": ").append(text);
  if (settings_.color) line += "\x1b[0m";
  write(line.append("\n"));
}

void TerminalMonitor::raw(std::string_view text) {
  clear_line();
  write(text);
}

void TerminalMonitor::begin(std::string_view what, std::uint64_t total, Unit unit) {
  clear_line();
  progress_ = {std::string(what), 0, total, unit, 0};
  begun_ = shown_ = settings_.now();
  active_ = true;
}

void TerminalMonitor::advance(std::uint64_t done) {
  if (!active_) return;
  progress_.done += done;
  if (settings_.quiet) return;
  const auto now = settings_.now();
  if (now - shown_ < (settings_.terminal ? Clock::duration(kBarInterval) : kLineInterval)) return;
  shown_ = now;
  show();
}

void TerminalMonitor::end() {
  clear_line();
  active_ = false;
}

void TerminalMonitor::show() {
  progress_.seconds = std::chrono::duration<double>(shown_ - begun_).count();
  if (settings_.terminal) {
    std::string line = "\r";
    line.append(progress_bar(progress_, terminal_columns(settings_.fd, 80) - 1)).append("\x1b[K");
    write(line);
    line_open_ = true;
  } else {
    write(settings_.tool + ": " + progress_line(progress_) + "\n");
  }
}

}  // namespace lq::cli

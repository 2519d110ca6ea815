#include "tools/cli/terminal.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/tables.h"

using namespace lq;
using namespace lq::cli;
using namespace lq::test;
using namespace std::chrono_literals;

namespace {

/// A monitor that writes to a file and whose clock stands still until it is told otherwise.
struct Bench {
  explicit Bench(bool terminal, bool quiet = false, bool color = false)
      : fd(::open((dir / "out").c_str(), O_CREAT | O_RDWR, 0600)),
        monitor({.tool = "lq-x",
                 .quiet = quiet,
                 .color = color,
                 .terminal = terminal,
                 .fd = fd,
                 .now = [this] { return time; }}) {}
  ~Bench() { ::close(fd); }
  std::string text() const { return file_content(dir / "out"); }

  TempDir dir;
  int fd;
  TerminalMonitor::Clock::time_point time{};
  TerminalMonitor monitor;
};

}  // namespace

TEST_CASE("progress is a bar that fits the terminal") {
  const Progress half{"writing", 1u << 30, 2u << 30, Unit::bytes, 4};
  const std::string bar = progress_bar(half, 79);
  CHECK(bar.size() <= 79);
  CHECK(bar.starts_with("writing [#"));
  for (const char* part : {" 50 %", "1.00 GiB / 2.00 GiB", "256 MiB/s", "ETA 0:04"})
    CHECK_MESSAGE(holds(bar, part), bar);
  for (int columns = 1; columns < 120; ++columns)
    CHECK(progress_bar(half, columns).size() <= static_cast<std::size_t>(columns));
  const Progress unknown{"reading", 500, 0, Unit::tokens, 2};
  CHECK(progress_bar(unknown, 79) == "reading 500  250 tokens/s");
  CHECK(progress_line(half) == "writing:  50 %  1.00 GiB / 2.00 GiB  256 MiB/s  ETA 0:04");
}

TEST_CASE("without a terminal there is a line every ten seconds") {
  Bench bench(/*terminal=*/false);
  bench.monitor.begin("writing", 100, Unit::items);
  for (int second = 1; second <= 35; ++second) {
    bench.time += 1s;
    bench.monitor.advance(2);
  }
  bench.monitor.end();
  CHECK(bench.text() ==
        "lq-x: writing:  20 %  20 / 100  2/s  ETA 0:40\n"
        "lq-x: writing:  40 %  40 / 100  2/s  ETA 0:30\n"
        "lq-x: writing:  60 %  60 / 100  2/s  ETA 0:20\n");
}

TEST_CASE("a bar is removed before anything else is written") {
  Bench bench(/*terminal=*/true);
  bench.monitor.begin("writing", 100, Unit::items);
  bench.monitor.advance(1);
  CHECK(bench.text().empty());  // too early
  bench.time += 200ms;
  bench.monitor.advance(1);
  const std::string bar = bench.text();
  CHECK(bar.starts_with("\rwriting ["));
  CHECK(bar.find('\n') == std::string::npos);
  bench.monitor.warning("odd");
  CHECK(bench.text() == bar + "\r\x1b[Klq-x: warning: odd\n");
  bench.monitor.end();
  CHECK(bench.text() == bar + "\r\x1b[Klq-x: warning: odd\n");
}

TEST_CASE("quiet silences progress and notes, not warnings and errors") {
  Bench bench(/*terminal=*/true, /*quiet=*/true);
  bench.monitor.begin("writing", 100, Unit::items);
  bench.time += 20s;
  bench.monitor.advance(50);
  bench.monitor.end();
  bench.monitor.note("written");
  CHECK(bench.text().empty());
  bench.monitor.warning("odd");
  bench.monitor.error("bad");
  CHECK(bench.text() == "lq-x: warning: odd\nlq-x: bad\n");
}

TEST_CASE("amounts are readable") {
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(1023) == "1023 B");
  CHECK(human_bytes(1536) == "1.50 KiB");
  CHECK(human_bytes(300.0 * (1 << 20)) == "300 MiB");
  CHECK(human_time(0.4) == "0:00");
  CHECK(human_time(67) == "1:07");
  CHECK(human_time(3661) == "1:01:01");
}

TEST_CASE("the first signal asks to stop, the second ends the process") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    prepare_process();
    if (stop_requested()) ::_exit(1);
    ::raise(SIGINT);
    if (!stop_requested()) ::_exit(2);
    clear_stop();
    if (stop_requested()) ::_exit(3);
    ::raise(SIGTERM);
    ::raise(SIGPIPE);
    if (!TerminalMonitor({.tool = "lq-x"}).stop_requested()) ::_exit(4);
    ::raise(SIGINT);
    ::_exit(5);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 130);
}

TEST_CASE("tables as text, Markdown and CSV") {
  const Table table{{{"name"}, {"size", Align::right}},
                    {{"a|b", "1"}, {"\xc3\xa4, \"x\"", "12345"}, {"\xe6\xbc\xa2", "7"}}};
  CHECK(write_table(table, "text") ==
        "name     size\n"
        "a|b         1\n"
        "\xc3\xa4, \"x\"  12345\n"
        "\xe6\xbc\xa2          7\n");
  CHECK(write_table(table, "md") ==
        "| name   |  size |\n"
        "| ------ | ----: |\n"
        "| a\\|b   |     1 |\n"
        "| \xc3\xa4, \"x\" | 12345 |\n"
        "| \xe6\xbc\xa2     |     7 |\n");
  CHECK(write_table(table, "csv") ==
        "name,size\r\na|b,1\r\n\"\xc3\xa4, \"\"x\"\"\",12345\r\n\xe6\xbc\xa2,7\r\n");
  for (const TableFormat& format : table_formats())
    CHECK_FALSE(write_table(table, format.name).empty());
}

TEST_CASE("rows that are shown one by one make the same table") {
  const Table table{{{"name", Align::left, 6}, {"size", Align::right, 5}},
                    {{"a|b", "1"}, {"\xc3\xa4, \"x\"", "12345"}, {"\xe6\xbc\xa2", "7"}}};
  for (const TableFormat& format : table_formats()) {
    CAPTURE(std::string(format.name));
    Table growing{table.columns, {table.rows[0]}};
    std::string text = write_table(growing, format.name);
    for (std::size_t i = 1; i < table.rows.size(); ++i) {
      growing.rows.push_back(table.rows[i]);
      text += write_last_row(growing, format.name);
    }
    CHECK(text == write_table(table, format.name));
  }
}

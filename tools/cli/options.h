#pragma once
// Checks for option values, and the options that every tool has. A refused value is named together
// with the nearest valid one.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/cli/tool.h"

namespace lq::cli {

enum class Case { exact, ignore };

/// One of `names`, which the help and the completions list. With Case::ignore the value is
/// rewritten to the spelling in `names`.
CLI::Validator choice(std::vector<std::string> names, Case letter_case = Case::exact);
CLI::Validator whole_number(std::int64_t min, std::int64_t max);
CLI::Validator number(double min, double max);
/// "4G", "512M", "1.5GiB", "100kB": rewritten to bytes. K, M, G, T and KiB.. are powers of 1024;
/// kB, MB, GB, TB powers of 1000.
CLI::Validator size();
/// "90s", "2m", "1.5h", "250ms": rewritten to seconds.
CLI::Validator duration();

/// Bytes of a size, or nothing when it is none or does not fit.
std::optional<std::uint64_t> parse_size(std::string_view text);
/// Seconds of a time; a bare number is seconds.
std::optional<double> parse_duration(std::string_view text);

/// The candidate that `word` is most likely a misspelling of; empty when none is near.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

/// The parts with `separator` between them.
std::string join(std::span<const std::string> parts, std::string_view separator);

/// Values of the common options.
struct CommonValues {
  bool quiet = false, json = false, force = false, version = false;
  std::string color = "auto";
  int threads = 0;  ///< 0: not given
};

/// The parser of one command of `tool` (null: the tool itself). `values` has to outlive it.
std::unique_ptr<CLI::App> make_app(const Tool& tool, const Command* command, CommonValues& values);

/// A one-line message for what CLI11 threw while parsing with `app`.
std::string parse_message(const CLI::ParseError& error, const CLI::App& app);

}  // namespace lq::cli

#include "tools/cli/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

namespace lq::cli {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

/// What counts when names are compared: "q4km" is "Q4_K_M".
std::string letters_and_digits(std::string_view text) {
  std::string out = lower(text);
  std::erase_if(out, [](char c) { return c == '-' || c == '_' || c == '.'; });
  return out;
}

/// Insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`.
int edit_distance(std::string_view a, std::string_view b) {
  const std::size_t width = b.size() + 1;
  std::vector<int> before(width), last(width), row(width);
  for (std::size_t j = 0; j < width; ++j) last[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j < width; ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

/// Splits "1.5GiB" into its number and "GiB".
std::optional<std::pair<double, std::string_view>> split_unit(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || !std::isfinite(value) || value < 0) return std::nullopt;
  return std::pair(value, text.substr(static_cast<std::size_t>(end - text.data())));
}

std::string shown(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

std::string unknown_option(const std::string& word, const CLI::App& app) {
  const std::string name = word.substr(0, word.find('='));
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const auto& known : option->get_lnames())
      if (!option->get_group().empty()) names.push_back("--" + known);
  const std::string guess = name.starts_with("--") ? nearest(name, names) : "";
  return "unknown option '" + name + "'" + (guess.empty() ? "" : "; did you mean '" + guess + "'?");
}

}  // namespace

std::string join(std::span<const std::string> parts, std::string_view separator) {
  std::string out;
  for (const auto& part : parts) {
    if (!out.empty()) out += separator;
    out += part;
  }
  return out;
}

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  const std::string wanted = letters_and_digits(word);
  std::string best;
  int best_distance = std::max(1, static_cast<int>(wanted.size()) / 3) + 1;
  for (const auto& candidate : candidates) {
    const std::string name = letters_and_digits(candidate);
    const bool completes = wanted.size() >= 3 && name.starts_with(wanted);
    const int distance = name == wanted ? 0 : completes ? 1 : edit_distance(wanted, name);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

CLI::Validator choice(std::vector<std::string> names, Case letter_case) {
  std::string all = join(names, "|");
  return CLI::Validator(
      [names = std::move(names), letter_case](std::string& value) -> std::string {
        for (const auto& name : names) {
          if (value == name) return {};
          if (letter_case == Case::ignore && lower(value) == lower(name)) {
            value = name;
            return {};
          }
        }
        const std::string guess = nearest(value, names);
        return "'" + value + "' is not one of " + join(names, ", ") +
               (guess.empty() ? "" : "; did you mean '" + guess + "'?");
      },
      std::move(all));
}

CLI::Validator whole_number(std::int64_t min, std::int64_t max) {
  return CLI::Validator(
      [=](std::string& value) -> std::string {
        std::int64_t parsed = 0;
        const char* end = value.data() + value.size();
        const auto [stop, error] = std::from_chars(value.data(), end, parsed);
        if (error == std::errc() && stop == end && parsed >= min && parsed <= max) return {};
        return "'" + value + "' is not a whole number from " + std::to_string(min) +
               (max == std::numeric_limits<std::int64_t>::max() ? " up"
                                                                : " to " + std::to_string(max));
      },
      "");
}

CLI::Validator number(double min, double max) {
  return CLI::Validator(
      [=](std::string& value) -> std::string {
        double parsed = 0;
        const char* end = value.data() + value.size();
        const auto [stop, error] = std::from_chars(value.data(), end, parsed);
        if (error == std::errc() && stop == end && parsed >= min && parsed <= max) return {};
        return "'" + value + "' is not a number from " + shown(min) +
               (std::isinf(max) ? " up" : " to " + shown(max));
      },
      "");
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  const auto parts = split_unit(text);
  if (!parts) return std::nullopt;
  std::string unit = lower(parts->second);
  double base = 1024;
  if (unit.ends_with("ib"))
    unit.resize(unit.size() - 2);
  else if (unit.size() == 2 && unit[1] == 'b') {
    unit.resize(1);
    base = 1000;
  } else if (unit == "b")
    unit.clear();
  constexpr std::string_view kPrefixes = "kmgtp";
  double bytes = parts->first;
  if (!unit.empty()) {
    const auto power = kPrefixes.find(unit);
    if (unit.size() != 1 || power == std::string_view::npos) return std::nullopt;
    bytes *= std::pow(base, static_cast<double>(power + 1));
  }
  if (bytes >= 9.2e18) return std::nullopt;
  return static_cast<std::uint64_t>(std::llround(bytes));
}

std::optional<double> parse_duration(std::string_view text) {
  const auto parts = split_unit(text);
  if (!parts) return std::nullopt;
  const auto& [value, unit] = *parts;
  if (unit == "ms") return value / 1000;
  if (unit.empty() || unit == "s") return value;
  if (unit == "m" || unit == "min") return value * 60;
  if (unit == "h") return value * 3600;
  return std::nullopt;
}

CLI::Validator size() {
  return CLI::Validator(
      [](std::string& value) -> std::string {
        const auto bytes = parse_size(value);
        if (!bytes) return "'" + value + "' is not a size like 4G, 512M or 1.5GiB";
        value = std::to_string(*bytes);
        return {};
      },
      "SIZE");
}

CLI::Validator duration() {
  return CLI::Validator(
      [](std::string& value) -> std::string {
        const auto seconds = parse_duration(value);
        if (!seconds) return "'" + value + "' is not a time like 90s, 2m or 250ms";
        value = shown(*seconds);
        return {};
      },
      "TIME");
}

std::unique_ptr<CLI::App> make_app(const Tool& tool, const Command* command, CommonValues& values) {
  const std::string name =
      command ? std::string(tool.name) + " " + command->name : std::string(tool.name);
  auto app = std::make_unique<CLI::App>(command ? command->summary : tool.summary, name);
  (command ? command->declare : tool.declare)(*app);
  const Common& common = command ? command->common : tool.common;
  constexpr const char* kGroup = "Common options";
  if (common.threads)
    app->add_option("-t,--threads", values.threads,
                    "threads to work with (default: the cores this process may use)")
        ->type_name("N")
        ->check(whole_number(1, 1024))
        ->group(kGroup);
  if (common.force)
    app->add_flag("--force", values.force, "replace output files that exist")->group(kGroup);
  if (common.json)
    app->add_flag("--json", values.json, "print results, and errors, as JSON")->group(kGroup);
  app->add_option("--color", values.color, "when to use colour; auto: on a terminal")
      ->check(choice({"auto", "always", "never"}))
      ->capture_default_str()
      ->group(kGroup);
  app->add_flag("-q,--quiet", values.quiet, "no progress and no notes; warnings and errors stay")
      ->group(kGroup);
  app->set_help_flag("-h,--help", "print this help")->group(kGroup);
  app->add_flag("--version", values.version, "print the version, how it was built and its kernels")
      ->group(kGroup);
  return app;
}

std::string parse_message(const CLI::ParseError& error, const CLI::App& app) {
  // An unknown option explains whatever else seems to be missing.
  const auto extras = app.remaining();
  for (const auto& word : extras)
    if (word.starts_with("-") && word.size() > 1) return unknown_option(word, app);
  const std::string message = error.what();
  const auto colon = message.find(": ");
  if (dynamic_cast<const CLI::ExtrasError*>(&error) && !extras.empty())
    return "unexpected argument '" + extras.front() + "'";
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) && colon != std::string::npos) {
    if (message.ends_with(" missing")) return message.substr(0, colon) + " needs a value";
    if (message.find("At Most 1 required") != std::string::npos)
      return message.substr(0, colon) + " was given more than once";
  }
  return message;
}

}  // namespace lq::cli

#include "tools/bench_kernels.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "lib/jobs/bench_kernels.h"
#include "lib/jobs/bench_report.h"
#include "tools/cli/options.h"
#include "tools/cli/tables.h"

namespace lq::tools {
namespace {

struct Options {
  std::vector<std::string> types, sets, operations;
  std::string shape;
  int repetitions = 5;
  bool explain = false;
} options;

std::vector<std::string> types_with_codec() {
  std::vector<std::string> names;
  for_each_dtype([&](DType, const DTypeTraits& t) { names.emplace_back(t.name); });
  return names;
}

CLI::Option* add_list(CLI::App& app, const char* names, std::vector<std::string>& list,
                      const char* help) {
  return app.add_option(names, list, help)->delimiter(',')->allow_extra_args(false);
}

void declare(CLI::App& app) {
  add_list(app, "--type", options.types, "types to measure; a list with commas; without it all")
      ->check(cli::choice(types_with_codec(), cli::Case::ignore));
  add_list(app, "--op", options.operations,
           "operations to measure; a list with commas; without it all. panels-N multiplies N "
           "tokens from the caches; stream-1 one token with panels in memory 8 times as large as "
           "the last cache (256 MiB at least, a quarter of the machine's at most), in turn with a "
           "plain loop that reads the same memory")
      ->check(cli::choice(kernel_operations()));
  app.add_option("--shape", options.shape,
                 "rows and columns of the matrix, up to 64 M weights, its rows repeated from the "
                 "65th on; without it 64x2048, for stream-1 as many rows as the memory holds")
      ->type_name("ROWSxCOLS")
      ->check(CLI::Validator(
          [](std::string& value) -> std::string {
            return parse_shape(value)
                       ? std::string()
                       : "'" + value + "' is not ROWSxCOLS, such as 4096x2048, of up to " +
                             std::to_string(KernelShape::kMostWeights) + " weights";
          },
          ""));
  add_list(app, "--isa", options.sets,
           "instruction sets to measure, as --explain lists them; a list with commas; without it "
           "all that work here")
      ->type_name("NAME");
  app.add_option("-r,--repetitions", options.repetitions, "samples of each case")
      ->check(cli::whole_number(1, 1000))
      ->capture_default_str();
  app.add_flag("--explain", options.explain,
               "show the instruction sets, which one is used and why, and end");
}

std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

void print_sets() {
  const SetChoices choices = explain_sets();
  cli::Table table{.columns = {{"set"}, {"needs"}, {"here"}, {"used"}}, .rows = {}};
  for (const SetChoice& set : choices.sets) {
    std::string needs;
    for (const std::string& one : set.needs) needs += (needs.empty() ? "" : ", ") + one;
    table.rows.push_back({set.name, needs.empty() ? "nothing" : needs, set.supported ? "yes" : "no",
                          set.chosen ? "yes" : ""});
  }
  cli::print(cli::write_table(table, "text") + "\n" + choices.reason + "\n");
}

std::string row(const std::string& type, const std::string& operation, const std::string& isa,
                const std::string& weights, const std::string& bytes, const std::string& operations,
                const std::string& share) {
  char text[256];
  std::snprintf(text, sizeof text, "| %-*s | %-17s | %-11s | %18s | %11s | %7s | %9s |\n",
                static_cast<int>(longest_type_name()), type.c_str(), operation.c_str(), isa.c_str(),
                weights.c_str(), bytes.c_str(), operations.c_str(), share.c_str());
  return text;
}

std::string header() {
  std::string rule = row("", "", "", "", "", "", "");
  for (std::size_t i = 0; i + 1 < rule.size(); ++i)
    if (rule[i] == ' ') rule[i] = '-';
  return row("type", "operation", "set", "Mweights/s", "GB/s", "Gop/s", "% of peak") + rule;
}

std::string case_row(const KernelCase& c) {
  const Spread rate = c.weights_per_second();
  return row(traits(c.type).name, c.operation, c.isa,
             formatted("%.1f", rate.median * 1e-6) + formatted(" +- %.1f", rate.mad * 1e-6) +
                 (is_unsteady(rate) ? " !" : ""),
             formatted("%.2f", c.bytes_per_second() * 1e-9),
             c.tokens > 0 ? formatted("%.1f", c.operations_per_second() * 1e-9) : "",
             c.percent_of_peak() > 0 ? formatted("%.0f %%", c.percent_of_peak()) : "");
}

void print_legend(const KernelReport& report) {
  cli::print("\n" + report.machine.cpu + ", one thread, processor time; medians of " +
             std::to_string(options.repetitions) +
             " samples +- median absolute deviation\nevery kernel gave the type's own results "
             "before it was timed; !: the samples differ by more than 3 %\nGB/s: of stored bytes");
  const auto any = [&](bool from_memory) {
    return std::any_of(report.cases.begin(), report.cases.end(),
                       [&](const KernelCase& c) { return c.from_memory() == from_memory; });
  };
  if (any(true)) cli::print("; from memory (stream) of panels, which may have more");
  if (any(false)) cli::print("\n% of peak: of " + meaning_of_peak(report, false));
  if (any(true)) cli::print("\n% of peak, stream: of " + meaning_of_peak(report, true));
  cli::print("\n");
}

void execute(const cli::Context& context) {
  if (options.explain && !context.json) {
    print_sets();
    return;
  }
  KernelBenchOptions bench{.types = {},
                           .sets = options.sets,
                           .operations = options.operations,
                           .repetitions = options.repetitions,
                           .shape = parse_shape(options.shape),
                           .stream_bytes = 0};
  for (const std::string& name : options.types) bench.types.push_back(*dtype_named(name));
  if (options.explain) {
    cli::print(
        to_json(KernelReport{.machine = machine_facts(), .cases = {}, .stream_bytes = 0}).dump(2) +
        "\n");
    return;
  }
  bool begun = false;  // a table without rows says nothing
  const KernelReport report = bench_kernels(
      bench,
      [&](const KernelCase& c) {
        if (context.json) return;
        if (!std::exchange(begun, true)) cli::print(header());
        cli::print(case_row(c));
      },
      context.monitor);
  if (context.json) {
    cli::print(to_json(report).dump(2) + "\n");
    return;
  }
  print_legend(report);
}

}  // namespace

const cli::Command kBenchKernels = {.name = "kernels",
                                    .summary = "measure single kernels on one thread",
                                    .declare = declare,
                                    .execute = execute,
                                    .common = {.threads = false, .force = false}};

}  // namespace lq::tools

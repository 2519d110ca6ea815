#include "lib/jobs/bench_kernels.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/jobs/kernel_operations.h"
#include "lib/jobs/kernel_stream.h"

namespace lq {
namespace {

using kernels::KernelTable;

/// What does not change from case to case.
struct Bench {
  explicit Bench(const KernelBenchOptions& o, std::uint64_t stream_bytes)
      : options(o), stream(stream_bytes) {}
  const KernelBenchOptions& options;
  PanelStream stream;
};

KernelCase measure(const KernelOperation& operation, const KernelTable& table,
                   const KernelOperands& in, Bench& bench) {
  KernelResults results(in);
  if (operation.prepare) operation.prepare(table, in, results);
  operation.run(table, in, results);
  if (!operation.holds(in, results)) refuse(operation, table, in.type);
  KernelCase result{.operation = operation.name,
                    .isa = table.name,
                    .type = in.type,
                    .rows = in.shape.rows,
                    .cols = in.shape.cols,
                    .tokens = operation.tokens};
  const int repetitions = bench.options.repetitions;
  if (operation.from_memory) {
    bench.stream.measure(operation, table, in, results, !bench.options.shape, repetitions, result);
    return result;
  }
  const std::int64_t begin = thread_time_ns();
  operation.run(table, in, results);
  const int rounds = rounds_of_sample(thread_time_ns() - begin);
  const auto all = [&](std::size_t once) { return static_cast<std::uint64_t>(rounds) * once; };
  result.weights = all(in.values.size());
  result.stored_bytes = all(in.stored.size());
  if (operation.of_panels) result.panel_bytes = all(results.panels.size());
  for (int i = 0; i < repetitions; ++i) {
    const std::int64_t start = thread_time_ns();
    for (int k = 0; k < rounds; ++k) operation.run(table, in, results);
    result.samples_ns.push_back(thread_time_ns() - start);
  }
  return result;
}

/// What a product of a type with so many tokens cannot exceed.
const kernels::PeakLoop& peak_loop(const KernelOperation& operation, const KernelTable& table,
                                   DType type) {
  static constexpr kernels::PeakLoop kNone;
  if (operation.tokens == 0 || operation.from_memory) return kNone;
  if (!operation.of_panels) return table.float_peak;
  const kernels::PanelProducts& way = table.panels.products(type, operation.tokens);
  if (&way == &table.panels.tiles) return table.pair_peak;
  return way.multiply[index_of(type)] ? table.code_peak : table.float_peak;
}

/// Operations a second, the best of some samples.
double peak_of(const kernels::PeakLoop& loop) {
  constexpr int kSamples = 5, kRounds = 200000;
  double best = 0;
  for (int i = 0; loop.run && i < kSamples; ++i) {
    const std::int64_t start = thread_time_ns();
    loop.run(kRounds);
    const auto ns = static_cast<double>(std::max<std::int64_t>(thread_time_ns() - start, 1));
    best = std::max(best, 1e9 * kRounds * loop.operations / ns);
  }
  return best;
}

std::vector<const KernelTable*> chosen_tables(const KernelBenchOptions& options) {
  std::vector<const KernelTable*> tables;
  for (const std::string& name : options.sets) tables.push_back(&choose_cpu_kernels(name));
  if (!options.sets.empty()) return tables;
  for (const kernels::KernelSet& set : kernels::kernel_sets())
    if (set.supported) tables.push_back(kernels::kernel_table(set.table->name));
  return tables;
}

template <class Value>
bool wanted(const std::vector<Value>& list, const Value& value) {
  return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
}

/// The quoted words of a condition.
std::vector<std::string> quoted_words(std::string_view condition) {
  std::vector<std::string> words;
  for (std::size_t at = 0; (at = condition.find('"', at)) != std::string_view::npos;) {
    const std::size_t end = condition.find('"', at + 1);
    if (end == std::string_view::npos) break;
    words.emplace_back(condition.substr(at + 1, end - at - 1));
    at = end + 1;
  }
  return words;
}

void check_shape(const KernelShape& shape, DType type) {
  if (shape.cols % traits(type).values != 0)
    fail(ErrorKind::usage, "shape ", shape.rows, "x", shape.cols, ": rows of ", traits(type).name,
         " are whole blocks of ", traits(type).values, " values; give other columns or types");
}

/// Of the two things that 100 per cent may be.
const char* name_of_peak(bool from_memory) { return from_memory ? "memory" : "instructions"; }

OrderedJson case_json(const KernelCase& c) {
  const Spread rate = c.weights_per_second();
  const auto of_weights = [&](std::uint64_t bytes) {
    return rate.median * static_cast<double>(bytes) /
           static_cast<double>(std::max<std::uint64_t>(c.weights, 1));
  };
  OrderedJson json = {{"operation", c.operation},
                      {"type", traits(c.type).name},
                      {"isa", c.isa},
                      {"threads", 1},
                      {"rows", c.rows},
                      {"columns", c.cols},
                      {"weights", c.weights},
                      {"stored_bytes", c.stored_bytes},
                      {"weights_per_second", spread_json(rate)},
                      {"stored_bytes_per_second", of_weights(c.stored_bytes)},
                      {"panel_bytes", c.panel_bytes},
                      {"panel_bytes_per_second", of_weights(c.panel_bytes)},
                      {"tokens", c.tokens},
                      {"operations_per_second", c.operations_per_second()},
                      {"peak_operations_per_second", c.peak},
                      {"percent_of_peak", c.percent_of_peak()},
                      {"percent_of", nullptr},
                      {"samples_ns", c.samples_ns},
                      {"unsteady", is_unsteady(rate)}};
  if (c.percent_of_peak() > 0) json["percent_of"] = name_of_peak(c.from_memory());
  if (c.from_memory()) {
    json["memory_bytes"] = c.memory_bytes;
    json["read_bytes"] = c.read_bytes;
    json["read_bytes_per_second"] = spread_json(c.read_bytes_per_second());
    json["read_samples_ns"] = c.read_samples_ns;
  }
  return json;
}

/// Of samples of so much each.
std::vector<double> rates_of(std::uint64_t amount, const std::vector<std::int64_t>& samples_ns) {
  std::vector<double> rates;
  for (const std::int64_t ns : samples_ns)
    rates.push_back(1e9 * static_cast<double>(amount) /
                    static_cast<double>(std::max<std::int64_t>(ns, 1)));
  return rates;
}

}  // namespace

std::vector<std::string> kernel_operations() {
  std::vector<std::string> names;
  for (const KernelOperation& operation : all_kernel_operations())
    names.emplace_back(operation.name);
  return names;
}

std::optional<KernelShape> parse_shape(std::string_view text) {
  KernelShape shape;
  const char* const end = text.data() + text.size();
  const auto rows = std::from_chars(text.data(), end, shape.rows);
  if (rows.ec != std::errc() || rows.ptr == end || *rows.ptr != 'x') return {};
  const auto cols = std::from_chars(rows.ptr + 1, end, shape.cols);
  if (cols.ec != std::errc() || cols.ptr != end || shape.rows < 1 || shape.cols < 1) return {};
  if (std::int64_t{shape.rows} * shape.cols > KernelShape::kMostWeights) return {};
  return shape;
}

Spread KernelCase::weights_per_second() const { return spread_of(rates_of(weights, samples_ns)); }

Spread KernelCase::read_bytes_per_second() const {
  return spread_of(rates_of(read_bytes, read_samples_ns));
}

double KernelCase::bytes_per_second() const {
  return weights_per_second().median *
         static_cast<double>(from_memory() ? panel_bytes : stored_bytes) /
         static_cast<double>(std::max<std::uint64_t>(weights, 1));
}

double KernelCase::percent_of_peak() const {
  if (!from_memory()) return peak > 0 ? 100 * operations_per_second() / peak : 0;
  std::vector<double> shares = rates_of(panel_bytes, samples_ns);
  const std::vector<double> reading = rates_of(read_bytes, read_samples_ns);
  for (std::size_t i = 0; i < shares.size(); ++i) shares[i] *= 100 / reading[i];
  return spread_of(shares).median;
}

std::string meaning_of_peak(const KernelReport& report, bool from_memory) {
  return from_memory ? "what a plain loop reads from the same " +
                           std::to_string(report.stream_bytes >> 20) +
                           " MiB, in turn with the product: median of the samples' ratios"
                     : "what the set's instructions for such products reach alone, from registers";
}

KernelReport bench_kernels(const KernelBenchOptions& options,
                           const std::function<void(const KernelCase&)>& on_case,
                           Monitor& monitor) {
  return bench_kernels(chosen_tables(options), options, on_case, monitor);
}

KernelReport bench_kernels(std::span<const KernelTable* const> tables,
                           const KernelBenchOptions& options,
                           const std::function<void(const KernelCase&)>& on_case,
                           Monitor& monitor) {
  KernelReport report{.machine = machine_facts(), .cases = {}};
  report.stream_bytes =
      options.stream_bytes ? options.stream_bytes : stream_bytes_of(report.machine);
  const KernelShape shape = options.shape.value_or(KernelShape());
  for_each_dtype([&](DType type, const DTypeTraits&) {
    if (wanted(options.types, type)) check_shape(shape, type);
  });
  Bench bench(options, report.stream_bytes);
  std::map<void (*)(int) noexcept, double> peaks;
  for_each_dtype([&](DType type, const DTypeTraits&) {
    if (!wanted(options.types, type)) return;
    const KernelOperands operands(type, shape);
    for (const KernelOperation& operation : all_kernel_operations()) {
      if (!wanted(options.operations, std::string(operation.name))) continue;
      std::set<const void*> measured;
      for (const KernelTable* table : tables) {
        monitor.check_stop();
        const void* const kernel = operation.kernel(*table, type);
        if (!kernel || !measured.insert(kernel).second) continue;
        report.cases.push_back(measure(operation, *table, operands, bench));
        const kernels::PeakLoop& loop = peak_loop(operation, *table, type);
        const auto [peak, is_new] = peaks.try_emplace(loop.run);
        if (is_new) peak->second = peak_of(loop);
        report.cases.back().peak = peak->second;
        on_case(report.cases.back());
      }
    }
  });
  return report;
}

SetChoices explain_sets() {
  SetChoices choices;
  const KernelTable& chosen = choose_cpu_kernels();
  for (const kernels::KernelSet& set : kernels::kernel_sets())
    choices.sets.push_back({.name = set.table->name,
                            .needs = quoted_words(set.condition),
                            .supported = set.supported,
                            .chosen = std::string_view(set.table->name) == chosen.name});
  const char* const forced = std::getenv("LQ_CPU_ISA");
  choices.reason =
      std::string(chosen.name) + " is used: " +
      (forced && *forced ? "LQ_CPU_ISA names it" : "the last in the list that this machine has");
  return choices;
}

OrderedJson to_json(const KernelReport& report) {
  OrderedJson json = report_head("lq.bench.kernels/1", report.machine);
  const SetChoices choices = explain_sets();
  json["reason"] = choices.reason;
  json["sets"] = OrderedJson::array();
  for (const SetChoice& set : choices.sets)
    json["sets"].push_back({{"name", set.name},
                            {"needs", set.needs},
                            {"supported", set.supported},
                            {"chosen", set.chosen}});
  json["stream_bytes"] = report.stream_bytes;
  for (const bool from_memory : {false, true})
    json["percent_of"][name_of_peak(from_memory)] = meaning_of_peak(report, from_memory);
  json["cases"] = OrderedJson::array();
  for (const KernelCase& c : report.cases) json["cases"].push_back(case_json(c));
  return json;
}

}  // namespace lq

#include "lib/jobs/bench_kernels.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "lib/backend/cpu_kernels.h"
#include "lib/base/error.h"
#include "lib/base/random.h"

namespace lq {
namespace {

using kernels::KernelTable;

constexpr std::size_t kRowLength = 2048,
                      kRows = 64;  // four panels: one token takes so many together
constexpr double kSampleSeconds = 0.02;

std::int64_t thread_time_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

/// Operands of one type and what the type's own functions make of them.
struct Operands {
  explicit Operands(DType dtype)
      : type(dtype),
        row_bytes(traits(dtype).row_bytes(kRowLength)),
        values(kRows * kRowLength),
        importance(kRowLength),
        stored(kRows * row_bytes),
        stored_by_importance(stored.size()),
        decoded(values.size()) {
    Random random(1);
    const auto normal = [&] {  // nearly: the sum of four
      return static_cast<float>(random.uniform() + random.uniform() + random.uniform() +
                                random.uniform() - 2);
    };
    for (float& value : values) value = 0.03f * normal();
    for (float& value : importance) value = normal() * normal() + 0.01f;
    for (float& value : importance) value = std::fabs(value);
    const DTypeTraits& t = traits(type);
    for (std::size_t r = 0; r < kRows; ++r) {
      const float* row = values.data() + r * kRowLength;
      t.encode(row, nullptr, stored.data() + r * row_bytes, kRowLength);
      t.encode(row, importance.data(), stored_by_importance.data() + r * row_bytes, kRowLength);
    }
    t.decode(stored.data(), decoded.data(), decoded.size());
  }

  DType type;
  std::size_t row_bytes;
  std::vector<float> values, importance;  ///< [kRows][kRowLength], [kRowLength]
  std::vector<std::byte> stored, stored_by_importance;
  std::vector<float> decoded;
};

void encode_rows(const KernelTable& table, const Operands& in, const float* importance,
                 std::vector<std::byte>& out) {
  for (std::size_t r = 0; r < kRows; ++r)
    table.encode[index_of(in.type)](in.values.data() + r * kRowLength, importance,
                                    out.data() + r * in.row_bytes, kRowLength);
}

void multiply(const KernelTable& table, const Operands& in, std::vector<float>& out) {
  table.matmul[index_of(in.type)]({.w = in.stored.data(),
                                   .row_bytes = in.row_bytes,
                                   .cols = static_cast<int>(kRowLength),
                                   .row_begin = 0,
                                   .row_end = static_cast<int>(kRows),
                                   .x = in.importance.data(),
                                   .x_stride = kRowLength,
                                   .y = out.data(),
                                   .y_stride = kRows,
                                   .n_tokens = 1});
}

/// Against binary64, within what binary32 sums of this length may be off.
bool products_hold(const Operands& in, const std::vector<float>& products) {
  for (std::size_t r = 0; r < kRows; ++r) {
    double sum = 0, size = 0;
    for (std::size_t i = 0; i < kRowLength; ++i) {
      const double product = static_cast<double>(in.decoded[r * kRowLength + i]) *
                             static_cast<double>(in.importance[i]);
      sum += product;
      size += std::fabs(product);
    }
    if (!(std::fabs(static_cast<double>(products[r]) - sum) <= 1e-5 * size)) return false;
  }
  return true;
}

/// Where the results of an operation go, and what it needs that depends on the set.
struct Results {
  explicit Results(const Operands& in) : stored(in.stored.size()), values(in.values.size()) {}
  std::vector<std::byte> stored;
  std::vector<float> values;
  std::vector<std::byte> panels, tiles;
  bool exact = true;  ///< the product has the bits of the plain one
};

constexpr int kManyTokens = 32;

/// Panels of the stored rows into out.panels.
void repack(const KernelTable& table, const Operands& in, Results& out) {
  const std::size_t panel = kernels::panel_traits(in.type).panel_bytes(kRowLength);
  out.panels.assign(kRows / kernels::kPanelRows * panel, std::byte{});
  for (std::size_t p = 0; p < kRows / kernels::kPanelRows; ++p)
    table.panels.encode[index_of(in.type)](
        in.stored.data() + p * kernels::kPanelRows * in.row_bytes, in.row_bytes,
        kernels::kPanelRows, kRowLength, out.panels.data() + p * panel);
}

/// The first n_tokens rows of values as activations.
void round_tokens(const KernelTable& table, const Operands& in, int n_tokens, Results& out) {
  const kernels::PanelProducts& way = table.panels.products(in.type, n_tokens);
  if (!way.multiply[index_of(in.type)]) return;
  const int width = kernels::tile_width(n_tokens, way.widest_tile);
  const std::size_t bytes = way.activation_bytes(kRowLength);
  out.tiles.assign(static_cast<std::size_t>(n_tokens) * bytes, std::byte{});
  for (int t = 0; t < n_tokens; t += width)
    way.quantize({.x = in.values.data() + static_cast<std::size_t>(t) * kRowLength,
                  .stride = kRowLength,
                  .cols = kRowLength,
                  .n_tokens = width,
                  .width = width,
                  .tile = out.tiles.data() + static_cast<std::size_t>(t) * bytes});
}

void multiply_panels(const KernelTable& table, const Operands& in, int n_tokens, Results& out) {
  const kernels::PanelProducts& way = table.panels.products(in.type, n_tokens);
  constexpr int kPanels = kRows / kernels::kPanelRows;
  out.exact = &way == &table.panels.few;
  if (way.multiply_floats[index_of(in.type)])
    return way.multiply_floats[index_of(in.type)]({.panels = out.panels.data(),
                                                   .rows = kRows,
                                                   .cols = kRowLength,
                                                   .panel_begin = 0,
                                                   .panel_end = kPanels,
                                                   .x = in.values.data(),
                                                   .x_stride = kRowLength,
                                                   .n_tokens = n_tokens,
                                                   .y = out.values.data(),
                                                   .y_stride = kRows});
  way.multiply[index_of(in.type)]({.panels = out.panels.data(),
                                   .rows = kRows,
                                   .cols = kRowLength,
                                   .panel_begin = 0,
                                   .panel_end = kPanels,
                                   .x = out.tiles.data(),
                                   .n_tokens = n_tokens,
                                   .y = out.values.data(),
                                   .y_stride = kRows});
}

/// Products of many tokens may be off by another rounding of both operands, to bfloat16 or 8 bits.
bool rounded_products_hold(const Operands& in, int n_tokens, const Results& out) {
  for (std::size_t t = 0; t < static_cast<std::size_t>(n_tokens); ++t)
    for (std::size_t r = 0; r < kRows; ++r) {
      double sum = 0, magnitude = 0;
      for (std::size_t c = 0; c < kRowLength; ++c) {
        const double product = static_cast<double>(in.decoded[r * kRowLength + c]) *
                               static_cast<double>(in.values[t * kRowLength + c]);
        sum += product;
        magnitude += std::fabs(product);
      }
      const double y = static_cast<double>(out.values[t * kRows + r]);
      if (!(std::fabs(y - sum) <= 0x1.02p-7 * magnitude)) return false;
    }
  return true;
}

/// Products with panels have the bits of the plain ones.
bool panel_products_hold(const Operands& in, int n_tokens, const Results& out) {
  const KernelTable& plain = *kernels::kernel_table("generic");
  Results wanted(in);
  repack(plain, in, wanted);
  if (wanted.panels != out.panels) return false;
  if (!out.exact) return rounded_products_hold(in, n_tokens, out);
  round_tokens(plain, in, n_tokens, wanted);
  multiply_panels(plain, in, n_tokens, wanted);
  return std::memcmp(wanted.values.data(), out.values.data(),
                     static_cast<std::size_t>(n_tokens) * kRows * sizeof(float)) == 0;
}

template <int n_tokens>
const void* panel_product(const KernelTable& table, DType type) {
  const kernels::PanelProducts& way = table.panels.products(type, n_tokens);
  const auto multiply_codes = way.multiply[index_of(type)];
  return multiply_codes ? reinterpret_cast<const void*>(multiply_codes)
                        : reinterpret_cast<const void*>(way.multiply_floats[index_of(type)]);
}

struct Operation {
  const char* name;
  void (*run)(const KernelTable&, const Operands&, Results&);
  bool (*holds)(const Operands&, const Results&);
  /// The kernel's address, to see whether a set has one of its own. Null: the type has none.
  const void* (*kernel)(const KernelTable&, DType);
  int tokens = 0;  ///< of a product
  /// Before the time is taken.
  void (*prepare)(const KernelTable&, const Operands&, Results&) = nullptr;
  bool of_panels = false;
};

constexpr Operation kOperations[] = {
    {"encode",
     [](const KernelTable& t, const Operands& in, Results& out) {
       encode_rows(t, in, nullptr, out.stored);
     },
     [](const Operands& in, const Results& out) { return out.stored == in.stored; },
     [](const KernelTable& t, DType type) {
       return reinterpret_cast<const void*>(t.encode[index_of(type)]);
     }},
    {"encode-importance",
     [](const KernelTable& t, const Operands& in, Results& out) {
       encode_rows(t, in, in.importance.data(), out.stored);
     },
     [](const Operands& in, const Results& out) { return out.stored == in.stored_by_importance; },
     [](const KernelTable& t, DType type) {
       return reinterpret_cast<const void*>(t.encode[index_of(type)]);
     }},
    {"decode",
     [](const KernelTable& t, const Operands& in, Results& out) {
       t.decode[index_of(in.type)](in.stored.data(), out.values.data(), out.values.size());
     },
     [](const Operands& in, const Results& out) {
       return std::memcmp(in.decoded.data(), out.values.data(),
                          in.decoded.size() * sizeof(float)) == 0;
     },
     [](const KernelTable& t, DType type) {
       return reinterpret_cast<const void*>(t.decode[index_of(type)]);
     }},
    {"matmul",
     [](const KernelTable& t, const Operands& in, Results& out) { multiply(t, in, out.values); },
     [](const Operands& in, const Results& out) { return products_hold(in, out.values); },
     [](const KernelTable& t, DType type) {
       return reinterpret_cast<const void*>(t.matmul[index_of(type)]);
     },
     1},
    {"repack", repack,
     [](const Operands& in, const Results& out) {
       Results wanted(in);
       repack(*kernels::kernel_table("generic"), in, wanted);
       return wanted.panels == out.panels;
     },
     [](const KernelTable& t, DType type) {
       return reinterpret_cast<const void*>(t.panels.encode[index_of(type)]);
     }},
    {"panels-1",
     [](const KernelTable& t, const Operands& in, Results& out) { multiply_panels(t, in, 1, out); },
     [](const Operands& in, const Results& out) { return panel_products_hold(in, 1, out); },
     panel_product<1>, 1,
     [](const KernelTable& t, const Operands& in, Results& out) {
       repack(t, in, out);
       round_tokens(t, in, 1, out);
     },
     true},
    {"panels-32",
     [](const KernelTable& t, const Operands& in, Results& out) {
       multiply_panels(t, in, kManyTokens, out);
     },
     [](const Operands& in, const Results& out) {
       return panel_products_hold(in, kManyTokens, out);
     },
     panel_product<kManyTokens>, kManyTokens,
     [](const KernelTable& t, const Operands& in, Results& out) {
       repack(t, in, out);
       round_tokens(t, in, kManyTokens, out);
     },
     true}};

KernelCase measure(const Operation& operation, const KernelTable& table, const Operands& in,
                   int repetitions) {
  Results results(in);
  if (operation.prepare) operation.prepare(table, in, results);
  operation.run(table, in, results);
  if (!operation.holds(in, results))
    fail(ErrorKind::failure, "kernel ", operation.name, " of ", traits(in.type).name,
         " in the set ", table.name, " disagrees with the type's definition; it is not timed");
  KernelCase result{
      .operation = operation.name, .isa = table.name, .type = in.type, .tokens = operation.tokens};
  const std::int64_t begin = thread_time_ns();
  operation.run(table, in, results);
  const double once = 1e-9 * static_cast<double>(thread_time_ns() - begin);
  const int rounds = std::clamp(static_cast<int>(kSampleSeconds / std::max(once, 1e-6)), 1, 10000);
  result.weights = static_cast<std::uint64_t>(rounds) * in.values.size();
  result.stored_bytes = static_cast<std::uint64_t>(rounds) * in.stored.size();
  for (int i = 0; i < repetitions; ++i) {
    const std::int64_t start = thread_time_ns();
    for (int k = 0; k < rounds; ++k) operation.run(table, in, results);
    result.samples_ns.push_back(thread_time_ns() - start);
  }
  return result;
}

/// What a product of a type with so many tokens cannot exceed.
const kernels::PeakLoop& peak_loop(const Operation& operation, const KernelTable& table,
                                   DType type) {
  static constexpr kernels::PeakLoop kNone;
  if (operation.tokens == 0) return kNone;
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

OrderedJson case_json(const KernelCase& c) {
  const Spread rate = c.weights_per_second();
  const double bytes_a_weight = static_cast<double>(c.stored_bytes) /
                                static_cast<double>(std::max<std::uint64_t>(c.weights, 1));
  return {{"operation", c.operation},
          {"type", traits(c.type).name},
          {"isa", c.isa},
          {"threads", 1},
          {"weights", c.weights},
          {"stored_bytes", c.stored_bytes},
          {"weights_per_second", spread_json(rate)},
          {"stored_bytes_per_second", rate.median * bytes_a_weight},
          {"tokens", c.tokens},
          {"operations_per_second", c.operations_per_second()},
          {"peak_operations_per_second", c.peak},
          {"percent_of_peak", c.percent_of_peak()},
          {"samples_ns", c.samples_ns},
          {"unsteady", is_unsteady(rate)}};
}

}  // namespace

std::vector<std::string> kernel_operations() {
  std::vector<std::string> names;
  for (const Operation& operation : kOperations) names.emplace_back(operation.name);
  return names;
}

Spread KernelCase::weights_per_second() const {
  std::vector<double> rates;
  for (const std::int64_t ns : samples_ns)
    rates.push_back(1e9 * static_cast<double>(weights) /
                    static_cast<double>(std::max<std::int64_t>(ns, 1)));
  return spread_of(rates);
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
  std::map<void (*)(int) noexcept, double> peaks;
  for_each_dtype([&](DType type, const DTypeTraits&) {
    if (!wanted(options.types, type)) return;
    const Operands operands(type);
    for (const Operation& operation : kOperations) {
      if (!wanted(options.operations, std::string(operation.name))) continue;
      std::set<const void*> measured;
      for (const KernelTable* table : tables) {
        monitor.check_stop();
        const void* const kernel = operation.kernel(*table, type);
        if (!kernel || !measured.insert(kernel).second) continue;
        report.cases.push_back(measure(operation, *table, operands, options.repetitions));
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
  json["cases"] = OrderedJson::array();
  for (const KernelCase& c : report.cases) json["cases"].push_back(case_json(c));
  return json;
}

}  // namespace lq

#include "lib/jobs/bench_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "kernels/blocks/dtype.h"
#include "lib/base/build_info.h"
#include "lib/base/sha256.h"
#include "lib/io/mapped_file.h"

namespace lq {
namespace {

/// Median absolute deviation, as a fraction of the median, above which a case counts as unsteady.
constexpr double kUnsteady = 0.03;

OrderedJson case_json(const BenchCase& c) {
  OrderedJson json = {
      {"model", c.model},
      {"model_sha256", c.model_sha256.empty() ? OrderedJson() : OrderedJson(c.model_sha256)},
      {"architecture", c.architecture},
      {"weight_type", c.weight_type},
      {"model_bytes", c.model_bytes},
      {"parameters", c.parameters},
      {"kind", name_of(c.kind)},
      {"n_prompt", c.n_prompt},
      {"n_generate", c.n_generate},
      {"depth", c.depth},
      {"batch", 1},
      {"threads", c.threads},
      {"isa", c.isa},
      {"device", c.device},
      {"kv_type", c.kv_type},
      {"exact", c.exact},
      {"load_ns", c.load_ns},
      {"tokens_per_second", spread_json(c.tokens_per_second())},
      {"samples_ns", c.samples_ns},
      {"peak_rss_bytes", c.peak_rss_bytes},
      {"unsteady", c.unsteady()},
      {"warnings", c.warnings}};
  if (c.kind == BenchKind::prompt) {
    const std::vector<double> samples(c.first_token_ns.begin(), c.first_token_ns.end());
    json["first_token_ns"] = spread_json(spread_of(samples));
    json["first_token_samples_ns"] = c.first_token_ns;
  } else {
    json["bytes_per_token"] = c.bytes_per_token;
    json["cache_bytes_per_token"] = c.cache_bytes_per_token;
    json["memory_bandwidth_bytes_per_second"] = c.bandwidth;
    json["percent_of_bandwidth"] = c.percent_of_bandwidth();
  }
  return json;
}

}  // namespace

OrderedJson spread_json(const Spread& spread) {
  return {
      {"median", spread.median}, {"mad", spread.mad}, {"min", spread.least}, {"max", spread.most}};
}

std::string files_sha256(const std::vector<std::filesystem::path>& paths) {
  Sha256 hash;
  for (const auto& path : paths) hash.update(MappedFile(path).bytes());
  return to_hex(hash.finish());
}

OrderedJson report_head(const char* schema, const MachineFacts& machine) {
  const BuildInfo& build = build_info();
  return {{"schema", schema},
          {"lq_version", build.version},
          {"machine",
           {{"cpu", machine.cpu},
            {"cores", machine.cores},
            {"instruction_sets", machine.instruction_sets},
            {"memory_bytes", machine.memory_bytes},
            {"l2_cache_bytes", machine.l2_cache_bytes},
            {"l3_cache_bytes", machine.l3_cache_bytes},
            {"operating_system", machine.operating_system}}},
          {"build",
           {{"version", build.version}, {"type", build.build_type}, {"compiler", build.compiler}}}};
}

std::size_t longest_type_name() {
  std::size_t longest = 0;
  for_each_dtype([&](DType, const DTypeTraits& type) {
    longest = std::max(longest, std::string_view(type.name).size());
  });
  return longest;
}

bool is_unsteady(const Spread& spread) { return spread.mad > kUnsteady * spread.median; }

const char* name_of(BenchKind kind) { return kind == BenchKind::prompt ? "prompt" : "generate"; }

Spread BenchCase::tokens_per_second() const {
  std::vector<double> rates;
  for (const std::int64_t ns : samples_ns)
    rates.push_back(1e9 * tokens() / static_cast<double>(std::max<std::int64_t>(ns, 1)));
  return spread_of(rates);
}

double BenchCase::percent_of_bandwidth() const {
  if (kind != BenchKind::generate || bandwidth <= 0) return 0;
  return 100 * tokens_per_second().median *
         static_cast<double>(bytes_per_token + cache_bytes_per_token) / bandwidth;
}

bool BenchCase::unsteady() const { return is_unsteady(tokens_per_second()); }

OrderedJson to_json(const BenchReport& report) {
  double bandwidth = 0;
  for (const BenchCase& c : report.cases) bandwidth = std::max(bandwidth, c.bandwidth);
  OrderedJson json = report_head("lq.bench.speed/1", report.machine);
  json["memory_bandwidth_bytes_per_second"] = bandwidth;
  json["cases"] = OrderedJson::array();
  for (const BenchCase& c : report.cases) json["cases"].push_back(case_json(c));
  return json;
}

}  // namespace lq

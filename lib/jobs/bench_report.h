#pragma once
// Measurements with everything that is needed to compare them. Statistics are derived, not stored.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/statistics.h"
#include "lib/jobs/machine.h"

namespace lq {

enum class BenchKind { prompt, generate };
const char* name_of(BenchKind kind);

/// One model, one kind of work, one number of threads.
struct BenchCase {
  std::string model;         ///< path
  std::string model_sha256;  ///< empty when it was not asked for
  std::string architecture, weight_type;
  std::uint64_t model_bytes = 0, parameters = 0;
  BenchKind kind = BenchKind::prompt;
  int n_prompt = 0, n_generate = 0;
  int depth = 0;  ///< tokens that are in the cache before
  int threads = 0;
  std::string isa, device, kv_type;
  bool exact = false;                 ///< weights as stored, products in binary32
  std::vector<std::string> warnings;  ///< what is unlike the checkpoint says
  std::int64_t load_ns = 0;
  std::vector<std::int64_t> samples_ns;  ///< one a repetition, of the tokens of the kind
  std::vector<std::int64_t>
      first_token_ns;  ///< prompt cases: start of the prompt to the first token
  std::uint64_t peak_rss_bytes = 0;
  std::uint64_t bytes_per_token = 0;        ///< stored weights that a generated token reads
  std::uint64_t cache_bytes_per_token = 0;  ///< keys and values that it reads, on average
  double bandwidth = 0;                     ///< bytes a second, measured with the same threads

  int tokens() const { return kind == BenchKind::prompt ? n_prompt : n_generate; }
  Spread tokens_per_second() const;
  /// Generation only: weights, keys and values read a second, in per cent of the bandwidth.
  double percent_of_bandwidth() const;
  /// True when the samples differ so much that a small difference to another report means nothing.
  bool unsteady() const;
};

struct BenchReport {
  MachineFacts machine;
  std::vector<BenchCase> cases;
};

/// What every report begins with: schema, lq_version, machine, build.
OrderedJson report_head(const char* schema, const MachineFacts& machine);
/// SHA-256 of the bytes of a model's files, one after the other.
std::string files_sha256(const std::vector<std::filesystem::path>& paths);
/// Characters of the longest weight_type, for columns.
std::size_t longest_type_name();
/// {median, mad, min, max}.
OrderedJson spread_json(const Spread& spread);
/// Whether samples differ so much that a small difference to another report means nothing.
bool is_unsteady(const Spread& spread);

/// lq.bench.speed/1.
OrderedJson to_json(const BenchReport& report);

}  // namespace lq

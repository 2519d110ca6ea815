#pragma once
// Measurements of quality with everything that is needed to compare them.
#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/jobs/machine.h"
#include "lib/jobs/quality_scores.h"

namespace lq {

/// One model on the text.
struct QualityCase {
  std::string model;         ///< path
  std::string model_sha256;  ///< empty when it was not asked for, or the model is no file
  std::string architecture, weight_type;
  std::uint64_t model_bytes = 0, parameters = 0;
  int n_ctx = 0, n_chunks = 0, threads = 0;
  std::string isa, device, kv_type;
  bool exact = false, compared = false;  ///< compared: scores know a reference
  std::vector<std::string> warnings;     ///< what is unlike the checkpoint says
  std::int64_t load_ns = 0, run_ns = 0;
  std::vector<TokenScore> scores;  ///< scored_tokens(n_ctx) for each chunk, in their order

  double bits_per_weight() const;
  std::span<const TokenScore> chunk(int index) const;
};

struct QualityReport {
  MachineFacts machine;
  std::string text;         ///< file; empty when the reference's file has the tokens
  std::string text_sha256;  ///< of its content
  std::string reference;    ///< model or file; empty: none
  std::string reference_sha256;
  bool reference_stored = false;  ///< a file, in 16 bits
  std::vector<QualityCase> cases;
};

/// {value, error}; null for what is not a number.
OrderedJson estimate_json(const Estimate& estimate);
/// One model: an entry of `cases`.
OrderedJson to_json(const QualityCase& measured);
/// lq.bench.quality/1.
OrderedJson to_json(const QualityReport& report);

}  // namespace lq

#pragma once
// How well models predict a text: perplexity, and the distance from a reference.
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "kernels/blocks/dtype.h"
#include "lib/base/monitor.h"
#include "lib/io/atomic_file.h"
#include "lib/jobs/quality_report.h"

namespace lq {

struct QualityOptions {
  std::vector<std::filesystem::path> models;
  std::string text;  ///< file, "-": standard input; may be empty with `base`, which has the tokens
  int n_ctx = 0;     ///< tokens of a chunk; 0: those of `base`, else kDefaultContext
  int max_chunks = 0;                 ///< 0: the whole text
  std::filesystem::path reference;    ///< a model to compare with, or
  std::filesystem::path base;         ///< a file of log-probabilities; both empty: perplexity only
  std::filesystem::path save_logits;  ///< of the one model; empty: not at all
  Existing existing = Existing::refuse;  ///< of `save_logits`
  int threads = 1;
  DType kv_type = DType::F16;  ///< of the caches
  bool exact = false;          ///< weights as stored, products in binary32
  bool hash = true;            ///< SHA-256 of the model files
};
inline constexpr int kDefaultContext = 512;

/// The text, without one newline at its end, is cut into chunks of n_ctx tokens; the rest is left
/// out. Each chunk is read with an empty cache and, where the model wants one, the begin token in
/// place of its first; its second half is scored. A reference reads the same chunks beside each
/// model; both have to have the same vocabulary. Calls `on_case` after each model, with what there
/// is by then: the last case is new. Results do not
/// depend on the number of threads. Throws Error: of kind input for texts of less than two chunks,
/// for vocabularies that differ, for a `base` that does not fit, and when a model computes numbers
/// that are not finite; cases finished by then were handed out.
QualityReport bench_quality(const QualityOptions& options,
                            const std::function<void(const QualityReport&)>& on_case,
                            Monitor& monitor);

}  // namespace lq

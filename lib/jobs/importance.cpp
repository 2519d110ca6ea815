#include "lib/jobs/importance.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

/// Of a sum of squares. Far above what models make, far below where encoders overflow.
constexpr float kMostImportance = 1e24f;

/// A single count stands for as many experts as the other side has.
void widen_counts(std::vector<std::int64_t>& counts, std::size_t n) {
  if (counts.size() == 1 && n > 1) counts.resize(n, counts[0]);
}

void merge_entry(ImportanceEntry& to, const ImportanceEntry& from, std::int64_t scale) {
  const auto factor = static_cast<float>(scale);
  for (std::size_t i = 0; i < to.sums.size(); ++i) to.sums[i] += from.sums[i] * factor;
  for (std::size_t i = 0; i < to.counts.size(); ++i)
    to.counts[i] += from.counts[from.counts.size() == 1 ? 0 : i] * scale;
}

}  // namespace

std::int64_t ImportanceEntry::most_tokens() const {
  return counts.empty() ? 0 : *std::max_element(counts.begin(), counts.end());
}

void check_importance(const std::string& file, const std::string& name,
                      const ImportanceEntry& entry) {
  const auto bad = std::find_if(entry.sums.begin(), entry.sums.end(),
                                [](float v) { return !(v >= 0 && v <= kMostImportance); });
  if (bad == entry.sums.end()) return;
  const auto at = static_cast<std::size_t>(bad - entry.sums.begin());
  fail(ErrorKind::input, file, ": entry ", quote(name), ": the sum of squares of column ",
       at % entry.columns(), " is ", *bad, "; expected 0 to ", kMostImportance,
       "; leave the entry out with "
       "--exclude-weights, or calibrate again");
}

void merge_importance(ImportanceMatrix& to, const ImportanceMatrix& from) {
  LQ_ASSERT(!to.legacy && to.chunk_size > 0);
  const std::int64_t scale = from.legacy ? to.chunk_size : 1;
  for (const auto& [name, entry] : from.entries) {
    const auto [at, added] = to.entries.try_emplace(name);
    ImportanceEntry& sum = at->second;
    if (added) {
      sum.sums.resize(entry.sums.size());
      sum.counts.resize(entry.counts.size());
    }
    if (sum.sums.size() != entry.sums.size())
      fail(ErrorKind::input, from.name, ": entry ", quote(name), " has ", entry.sums.size(),
           " values; the files before it have ", sum.sums.size(),
           "; only matrices of one model can be merged");
    widen_counts(sum.counts, entry.counts.size());
    if (sum.counts.size() != entry.counts.size() && entry.counts.size() != 1)
      fail(ErrorKind::input, from.name, ": entry ", quote(name), " has ", entry.counts.size(),
           " experts; the files before it have ", sum.counts.size(),
           "; only matrices of one model can be merged");
    merge_entry(sum, entry, scale);
  }
  to.datasets.insert(to.datasets.end(), from.datasets.begin(), from.datasets.end());
  std::int64_t most = 0;
  for (const auto& [name, entry] : to.entries) most = std::max(most, entry.most_tokens());
  to.chunk_count = static_cast<int>(
      std::min<std::int64_t>(most / to.chunk_size, std::numeric_limits<std::int32_t>::max()));
}

}  // namespace lq

#include "lib/jobs/importance_collector.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/parallel.h"

namespace lq {
namespace {

constexpr std::ptrdiff_t kGrain = 64;  ///< columns: parts are not smaller

/// sums[c] += squares of column c, row by row.
void add_squares(std::span<const float> rows, std::size_t columns, int threads, float* sums) {
  const std::size_t n = rows.size() / columns;
  parallel_ranges(static_cast<std::ptrdiff_t>(columns), kGrain, threads,
                  [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
                    for (std::size_t r = 0; r < n; ++r) {
                      const float* x = rows.data() + r * columns;
                      for (std::ptrdiff_t c = begin; c < end; ++c) sums[c] += x[c] * x[c];
                    }
                  });
}

}  // namespace

ImportanceCollector::ImportanceCollector(const Weights& weights, Backend& backend, int threads,
                                         bool with_output)
    : weights_(weights), backend_(backend), threads_(threads), with_output_(with_output) {}

ImportanceEntry* ImportanceCollector::entry_of(const WeightView& weight, int columns) {
  const auto at = seen_.find(weight.data);
  if (at != seen_.end()) return &at->second;
  const std::string_view name = weights_.name_of(weight);
  LQ_ASSERT(!name.empty());
  const bool wanted = name.substr(0, 4) == "blk." || (with_output_ && name == "output.weight");
  if (!wanted) return nullptr;
  ImportanceEntry entry;
  entry.sums.resize(static_cast<std::size_t>(columns));
  entry.counts.resize(1);
  return &seen_.emplace(weight.data, std::move(entry)).first->second;
}

void ImportanceCollector::expect_experts(const WeightView& weight, int n_experts) {
  ImportanceEntry* entry = entry_of(weight, weight.cols);
  if (!entry) return;
  const auto n = static_cast<std::size_t>(n_experts);
  entry->sums.assign(n * static_cast<std::size_t>(weight.cols), 0.0f);
  entry->counts.assign(n, 0);
}

std::span<const float> ImportanceCollector::on_host(View input) {
  const std::size_t n = static_cast<std::size_t>(input.rows) * static_cast<std::size_t>(input.cols);
  if (backend_.reads_host_memory()) return {input.data, n};
  host_.resize(n);
  backend_.copy_out(reinterpret_cast<const std::byte*>(input.data),
                    std::as_writable_bytes(std::span(host_)));
  backend_.synchronize();
  return host_;
}

void ImportanceCollector::on_matmul(const WeightView& weight, View input,
                                    std::span<const std::int32_t> experts) {
  ImportanceEntry* entry = entry_of(weight, input.cols);
  if (!entry) return;
  const std::span<const float> rows = on_host(input);
  const auto columns = static_cast<std::size_t>(input.cols);
  LQ_ASSERT(entry->columns() == columns);
  if (experts.empty()) {
    add_squares(rows, columns, threads_, entry->sums.data());
    entry->counts[0] += input.rows;
    return;
  }
  LQ_ASSERT(experts.size() == static_cast<std::size_t>(input.rows));
  for (std::size_t r = 0; r < experts.size(); ++r) {
    const auto expert = static_cast<std::size_t>(experts[r]);
    LQ_ASSERT(expert < entry->counts.size());
    add_squares(rows.subspan(r * columns, columns), columns, 1,
                entry->sums.data() + expert * columns);
    ++entry->counts[expert];
  }
}

void ImportanceCollector::take(ImportanceMatrix& matrix) {
  for (auto& [data, seen] : seen_) {
    const std::string name(weights_.name_of({.data = data}));
    check_importance("calibration", name, seen);
    ImportanceEntry& entry = matrix.entries[name];
    if (entry.counts.empty()) {
      entry.sums.resize(seen.sums.size());
      entry.counts.resize(seen.counts.size());
    }
    LQ_ASSERT(entry.sums.size() == seen.sums.size() && entry.counts.size() == seen.counts.size());
    for (std::size_t i = 0; i < entry.sums.size(); ++i) entry.sums[i] += seen.sums[i];
    for (std::size_t i = 0; i < entry.counts.size(); ++i) entry.counts[i] += seen.counts[i];
  }
  drop();
}

void ImportanceCollector::drop() {
  for (auto& [data, seen] : seen_) {
    std::fill(seen.sums.begin(), seen.sums.end(), 0.0f);
    std::fill(seen.counts.begin(), seen.counts.end(), 0);
  }
}

}  // namespace lq

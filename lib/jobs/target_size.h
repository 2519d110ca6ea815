#pragma once
// The best types for a file of a given size.
#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/monitor.h"
#include "lib/jobs/plan.h"

namespace lq {

/// A size and how much of the model is lost at it.
struct SizeRow {
  std::uint64_t bytes = 0;  ///< of the file
  double bits_per_weight = 0;
  double loss = 0;  ///< see fit_to_size()
  bool chosen = false;
};

struct SizeFit {
  std::uint64_t target_bytes = 0;
  std::vector<SizeRow> table;  ///< by size; what is possible around the one that was chosen
};

/// Bytes of the plan's files if its matrices had `bits_per_weight` on average.
std::uint64_t bytes_at(const Plan& plan, double bits_per_weight);

/// Gives every matrix whose type a recipe chose the type that makes the plan's loss smallest while
/// its files have at most `target_bytes`. The loss is the mean over matrices of the relative error
/// of the stored weights (squares, counted by importance where the plan has it), weighted by how
/// much an error of such a matrix matters: the root of its number of weights, times a factor of its
/// role. Errors are measured by encoding rows spread evenly over the matrix, the same for any
/// number of threads. Types come from the lower hull of loss over bytes, steepest step first; what
/// remains of the size is filled by exchanges. Throws Error(usage) when even the smallest types
/// need more.
SizeFit fit_to_size(Plan& plan, std::uint64_t target_bytes, int threads, Monitor& monitor);

/// The plan's decisions as lines REGEX=TYPE that choose the same types again; kept tensors are left
/// out.
std::string type_lines(const Plan& plan);

std::string size_table(const SizeFit& fit);
OrderedJson size_json(const SizeFit& fit);

}  // namespace lq

#pragma once
// How the integers and scales that stand for a matrix's values are chosen: methods.def has the
// list, methods/ a file for each.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/groups/groups.h"

namespace lq {

/// Rows of a matrix that a method works on: [n_rows][cols] finite values in groups of columns.
struct MethodRows {
  std::span<const float> values;
  std::size_t cols, group;
  kernels::IntegerGrid grid;
  const kernels::GroupKernels& kernels;  ///< of the precision that the scales are held in

  std::size_t n_rows() const { return values.size() / cols; }
  std::size_t n_groups() const { return cols / group; }  ///< of a row
};

/// What a method makes of them. value = (code - zero) * scale.
struct IntegerRows {
  /// Makes room; what is there then means nothing.
  void resize(std::size_t n, std::size_t n_cols, std::size_t groups) {
    n_rows = n;
    cols = n_cols;
    n_groups = groups;
    codes.resize(n * n_cols);
    zeros.resize(n * groups);
    scales.resize(n * groups);
  }
  bool operator==(const IntegerRows&) const = default;

  std::size_t n_rows = 0, cols = 0;
  std::size_t n_groups = 0;        ///< of a row
  std::vector<std::int8_t> codes;  ///< [n_rows][cols]
  std::vector<std::int8_t> zeros;  ///< [n_rows][n_groups], all 0 when symmetric
  std::vector<float> scales;       ///< [n_rows][n_groups], as they are held
};

/// A row of methods.def. Rows are independent of each other.
struct WeightMethod {
  std::string name;
  bool searches;  ///< computes in binary32 whatever the layout's package computes in
  bool symmetric, zero_points;
  const char* what;
  void (*choose)(const MethodRows& rows, IntegerRows& into);
};

std::span<const WeightMethod> weight_methods();
/// Null when there is none of that name.
const WeightMethod* find_weight_method(std::string_view name);

/// Calls fit(x, at) for each group: its values and its place among the groups of all rows.
template <class Fit>
void for_each_group(const MethodRows& rows, const Fit& fit) {
  for (std::size_t at = 0; at < rows.values.size() / rows.group; ++at)
    fit(rows.values.data() + at * rows.group, at);
}

/// Stores codes, scale and zero of a group. The zero of `fit` is an integer.
void store_group(const MethodRows& rows, std::size_t at, const kernels::GroupFit& fit,
                 IntegerRows& into);

/// The grid's fit for a range of values: as `integers` of GroupKernels does it.
kernels::GroupFit fit_range(const MethodRows& rows, kernels::ValueRange range);

}  // namespace lq

// Round to nearest: what the packages do without data.
#include "lib/jobs/weight_method.h"

namespace lq {

void choose_rtn(const MethodRows& rows, IntegerRows& into) {
  for (std::size_t r = 0; r < into.n_rows; ++r)
    rows.kernels.integers(rows.values.data() + r * rows.cols, rows.cols, rows.group, rows.grid,
                          into.scales.data() + r * into.n_groups,
                          into.zeros.data() + r * into.n_groups, into.codes.data() + r * rows.cols);
}

}  // namespace lq

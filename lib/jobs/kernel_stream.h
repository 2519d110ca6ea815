#pragma once
// Products with panels that no cache holds, in turn with a plain loop over the same memory.
#include <memory>

#include "lib/backend/backend.h"
#include "lib/jobs/bench_kernels.h"
#include "lib/jobs/kernel_operations.h"

namespace lq {

/// Memory that such products go around: 8 times the last cache, at least 256 MiB, at most a quarter
/// of what the machine has.
std::uint64_t stream_bytes_of(const MachineFacts& machine);

/// Panels of one type, many times: a matrix as long as the memory, or matrices of one shape.
class PanelStream {
 public:
  explicit PanelStream(std::uint64_t n_bytes) : n_bytes_(n_bytes) {}

  /// `prepared` holds the panels of the operands and the rounded token; `one_matrix`: the panels
  /// repeat as one long matrix, which takes operands of whole panels. Sizes and samples into
  /// `result`. Throws Error(resource), and Error(failure) for products that differ from
  /// prepared.values.
  void measure(const KernelOperation& operation, const kernels::KernelTable& table,
               const KernelOperands& in, const KernelResults& prepared, bool one_matrix,
               int repetitions, KernelCase& result);

 private:
  void fill(const KernelOperands& in, const KernelResults& prepared, bool one_matrix);
  std::size_t part_bytes() const;
  std::int64_t time_reading(int part);
  std::int64_t time_product(int part, int tokens, const kernels::KernelTable& table,
                            const KernelOperands& in, const KernelResults& prepared);
  /// After its product.
  bool first_part_holds(const KernelOperands& in, const KernelResults& prepared) const;

  std::uint64_t n_bytes_;
  std::unique_ptr<Buffer> memory_;
  DType type_ = DType::kCount;  ///< of the panels in memory_, the same in every set
  std::size_t panel_bytes_ = 0;
  std::int64_t part_panels_ = 0;  ///< of each part of memory_
  int matrix_rows_ = 0, matrix_panels_ = 0;
  std::vector<float> y_;   ///< [matrix_rows_]
  std::uint64_t sum_ = 0;  ///< of what was read
};

}  // namespace lq

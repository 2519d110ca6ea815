#pragma once
// How a plan's work is cut into pieces, and how much of it fits into memory at once.
#include <cstdint>
#include <vector>

#include "lib/jobs/plan.h"

namespace lq {

/// Rows [begin, end) of a tensor, or its bytes when they are copied: what one thread does at a
/// time.
struct Piece {
  std::size_t tensor;
  std::uint64_t begin, end;
};

/// In file order; the same for any number of threads.
std::vector<Piece> make_pieces(const Plan& plan);
std::uint64_t count_pieces(const PlannedTensor& tensor);

/// The source's rows [begin, end) that rows [begin, end) of the tensor are made of, and those
/// between.
struct RowRange {
  std::uint64_t begin, end;
};
RowRange source_rows(const PlannedTensor& tensor, std::uint64_t begin, std::uint64_t end);

/// Bytes of a row of the source, or of the values that a generated tensor is made of.
std::uint64_t source_row_bytes(const PlannedTensor& tensor);

/// How many threads may work at once, and what each of them needs.
struct Budget {
  int threads;
  std::uint64_t scratch_bytes;
};

/// Throws Error(resource) when one thread needs more than the limit.
Budget make_budget(const Plan& plan, const WriteOptions& options);

}  // namespace lq

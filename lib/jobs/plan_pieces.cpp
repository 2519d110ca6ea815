#include "lib/jobs/plan_pieces.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/base/quote.h"
#include "lib/jobs/quantized_folder.h"

namespace lq {
namespace {

constexpr std::uint64_t kPieceBytes = 1 << 19;  // read and written: in the second-level cache
constexpr std::uint64_t kDefaultMemory = std::uint64_t{128} << 20;

std::uint64_t rows_a_piece(const PlannedTensor& tensor) {
  const std::uint64_t row = std::max(tensor.output.row_bytes(), source_row_bytes(tensor));
  return std::max<std::uint64_t>(1, kPieceBytes / std::max<std::uint64_t>(1, row));
}

/// Bytes of a piece of a copy: whole blocks.
std::uint64_t copy_step(DType type) {
  return kPieceBytes / traits(type).bytes * traits(type).bytes;
}

/// The most bytes that a piece reads.
std::uint64_t read_bytes(const PlannedTensor& tensor, std::uint64_t rows) {
  std::uint64_t most = rows;
  if (tensor.source_row)
    for (std::uint64_t at = 0; at < tensor.output.rows(); at += rows) {
      const RowRange range = source_rows(tensor, at, std::min(tensor.output.rows(), at + rows));
      most = std::max(most, range.end - range.begin);
    }
  return most * source_row_bytes(tensor);
}

/// Memory that the source needs beside what it reads into.
std::uint64_t source_bytes(const PlannedTensor& tensor) {
  const auto* quantized = dynamic_cast<const QuantizedFolder*>(tensor.source);
  return quantized ? quantized->memory_to_read(tensor.source_index) : 0;
}

std::uint64_t scratch_bytes(const PlannedTensor& tensor, bool measures) {
  if (tensor.is_copy())
    return std::min(copy_step(tensor.output.type), tensor.output.bytes()) + source_bytes(tensor);
  const std::uint64_t rows = std::min(rows_a_piece(tensor), tensor.output.rows());
  const bool decodes = tensor.source_type() != tensor.output.type;
  return rows * tensor.output.row_bytes() + source_bytes(tensor) +
         (tensor.source ? read_bytes(tensor, rows) : 0) +
         (decodes ? tensor.output.row_length() * sizeof(float) * (measures ? 2 : 1) : 0);
}

/// What a piece is counted in: rows, or the bytes of a copy.
struct Steps {
  std::uint64_t end, step;
};

Steps steps_of(const PlannedTensor& tensor) {
  if (tensor.is_copy()) return {tensor.output.bytes(), copy_step(tensor.output.type)};
  return {tensor.output.rows(), rows_a_piece(tensor)};
}

}  // namespace

RowRange source_rows(const PlannedTensor& tensor, std::uint64_t begin, std::uint64_t end) {
  if (!tensor.source_row) return {begin, end};
  RowRange range{~std::uint64_t{0}, 0};
  for (std::uint64_t row = begin; row < end; ++row) {
    const std::uint64_t from = tensor.source_row(row);
    range = {std::min(range.begin, from), std::max(range.end, from + 1)};
  }
  return range;
}

std::uint64_t source_row_bytes(const PlannedTensor& tensor) {
  return tensor.source ? tensor.source->tensors()[tensor.source_index].row_bytes()
                       : tensor.output.row_length() * sizeof(float);
}

Budget make_budget(const Plan& plan, const WriteOptions& options) {
  const std::uint64_t limit = options.memory_limit > 0 ? options.memory_limit : kDefaultMemory;
  std::uint64_t largest = 0;
  const PlannedTensor* which = nullptr;
  for (const PlannedTensor& tensor : plan.tensors) {
    const std::uint64_t bytes = scratch_bytes(tensor, options.report != nullptr);
    if (bytes <= largest) continue;
    largest = bytes;
    which = &tensor;
  }
  if (largest == 0) return {std::max(1, options.threads), 0};
  if (largest > limit)
    fail(ErrorKind::resource, "tensor ", quote(which->output.name), " needs ", largest,
         " bytes of memory a thread; the limit is ", limit);
  const auto most = static_cast<int>(std::clamp<std::uint64_t>(limit / largest, 1, 1 << 16));
  return {std::clamp(options.threads, 1, most), largest};
}

std::uint64_t count_pieces(const PlannedTensor& tensor) {
  const Steps steps = steps_of(tensor);
  return (steps.end + steps.step - 1) / steps.step;
}

std::vector<Piece> make_pieces(const Plan& plan) {
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const auto [end, step] = steps_of(plan.tensors[i]);
    for (std::uint64_t at = 0; at < end; at += step)
      pieces.push_back({i, at, std::min(end, at + step)});
  }
  return pieces;
}

}  // namespace lq

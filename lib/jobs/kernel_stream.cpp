#include "lib/jobs/kernel_stream.h"

#include <algorithm>
#include <cstring>

#include "lib/backend/host_buffer.h"
#include "lib/base/error.h"

namespace lq {

using kernels::KernelTable;

namespace {

/// What is read and multiplied in turn: small, so that both meet the same speed of the memory,
/// which other programs and guests change; that of the whole, because it is read again only after
/// all the others.
constexpr int kParts = 8;
constexpr std::size_t kCacheLine = 64;

}  // namespace

std::uint64_t stream_bytes_of(const MachineFacts& machine) {
  constexpr std::uint64_t kLeast = std::uint64_t{256} << 20;
  const std::uint64_t last_cache = std::max(machine.l3_cache_bytes, machine.l2_cache_bytes);
  return std::min(std::max(8 * last_cache, kLeast), machine.memory_bytes / 4);
}

void PanelStream::fill(const KernelOperands& in, const KernelResults& prepared, bool one_matrix) {
  if (type_ == in.type) return;
  const std::size_t matrix_bytes = prepared.panels.size();
  const auto up = [](std::uint64_t n, std::uint64_t by) { return (n + by - 1) / by; };
  const std::size_t copies =
      std::max(up(n_bytes_, matrix_bytes), up(kParts, static_cast<std::uint64_t>(in.n_panels())));
  if (!memory_ || memory_->size() < copies * matrix_bytes) {
    memory_.reset();
    memory_ = make_host_buffer(copies * matrix_bytes, Pages::large);
  }
  for (std::size_t i = 0; i < copies; ++i)
    std::memcpy(memory_->data() + i * matrix_bytes, prepared.panels.data(), matrix_bytes);
  type_ = in.type;
  panel_bytes_ = matrix_bytes / static_cast<std::size_t>(in.n_panels());
  const std::int64_t n_panels = static_cast<std::int64_t>(copies) * in.n_panels();
  part_panels_ = n_panels / kParts;
  matrix_rows_ = one_matrix ? static_cast<int>(copies) * in.shape.rows : in.shape.rows;
  matrix_panels_ = one_matrix ? static_cast<int>(n_panels) : in.n_panels();
  y_.assign(static_cast<std::size_t>(matrix_rows_), 0.0f);
}

std::size_t PanelStream::part_bytes() const {
  return static_cast<std::size_t>(part_panels_) * panel_bytes_;
}

std::int64_t PanelStream::time_reading(int part) {
  const std::size_t begin = static_cast<std::size_t>(part) * part_bytes();
  const std::int64_t start = thread_time_ns();
  sum_ += read_memory(memory_->data() + begin / kCacheLine * kCacheLine,
                      part_bytes() / kCacheLine * kCacheLine);
  return thread_time_ns() - start;
}

std::int64_t PanelStream::time_product(int part, int tokens, const KernelTable& table,
                                       const KernelOperands& in, const KernelResults& prepared) {
  const std::int64_t start = thread_time_ns();
  const std::int64_t part_end = (part + 1) * part_panels_;
  for (std::int64_t panel = part * part_panels_, end = 0; panel < part_end; panel = end) {
    const std::int64_t matrix = panel / matrix_panels_ * matrix_panels_;
    end = std::min<std::int64_t>(part_end, matrix + matrix_panels_);
    multiply_panels(table, in, prepared, tokens,
                    {.panels = memory_->data() + static_cast<std::size_t>(matrix) * panel_bytes_,
                     .rows = matrix_rows_,
                     .begin = static_cast<int>(panel - matrix),
                     .end = static_cast<int>(end - matrix)},
                    y_.data());
  }
  return thread_time_ns() - start;
}

bool PanelStream::first_part_holds(const KernelOperands& in, const KernelResults& prepared) const {
  const std::int64_t last_matrix = (part_panels_ - 1) / matrix_panels_ * matrix_panels_;
  const std::int64_t rows =
      std::min<std::int64_t>((part_panels_ - last_matrix) * kernels::kPanelRows, matrix_rows_);
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r)
    if (std::memcmp(&y_[r], &prepared.values[r % in.n_rows()], sizeof(float)) != 0) return false;
  return true;
}

void PanelStream::measure(const KernelOperation& operation, const KernelTable& table,
                          const KernelOperands& in, const KernelResults& prepared, bool one_matrix,
                          int repetitions, KernelCase& result) {
  fill(in, prepared, one_matrix);
  const auto product = [&](int part) {
    return time_product(part, operation.tokens, table, in, prepared);
  };
  std::fill(y_.begin(), y_.end(), 0.0f);
  product(0);
  if (!first_part_holds(in, prepared)) refuse(operation, table, in.type);
  time_reading(kParts / 2);
  const int rounds = rounds_of_sample(product(1));
  result.panel_bytes = static_cast<std::uint64_t>(rounds) * part_bytes();
  result.read_bytes = static_cast<std::uint64_t>(rounds) * (part_bytes() / kCacheLine * kCacheLine);
  const std::uint64_t rows = static_cast<std::uint64_t>(rounds) *
                             static_cast<std::uint64_t>(part_panels_) * in.n_rows() /
                             static_cast<std::uint64_t>(in.n_panels());
  result.weights = rows * in.n_cols();
  result.stored_bytes = rows * in.row_bytes;
  result.rows = matrix_rows_;
  result.memory_bytes = kParts * part_bytes();
  int part = 2;
  for (int i = 0; i < repetitions; ++i) {
    std::int64_t reading_ns = 0, product_ns = 0;
    for (int k = 0; k < rounds; ++k) {
      reading_ns += time_reading(part);
      product_ns += product((part + kParts / 2) % kParts);  // what was read longest ago
      part = (part + 1) % kParts;
    }
    result.read_samples_ns.push_back(reading_ns);
    result.samples_ns.push_back(product_ns);
  }
}

}  // namespace lq

#pragma once
// The operations that single kernels are measured with: what they work on, and how their results
// are checked.
#include <cstdint>
#include <new>
#include <span>
#include <vector>

#include "kernels/blocks/dtype.h"
#include "kernels/cpu/kernel_table.h"
#include "lib/jobs/bench_kernels.h"

namespace lq {

/// Memory at a multiple of 64, as kernels want panels and activations.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kLine)); }
  void deallocate(T* p, std::size_t) noexcept { ::operator delete(p, kLine); }
  bool operator==(const LineAllocator&) const = default;
};
using AlignedBytes = std::vector<std::byte, LineAllocator<std::byte>>;

/// Operands of one type and what the type's own functions make of them.
struct KernelOperands {
  /// shape.cols are whole blocks of the type.
  KernelOperands(DType type, KernelShape shape);

  int n_panels() const { return (shape.rows + kernels::kPanelRows - 1) / kernels::kPanelRows; }
  std::size_t n_rows() const { return static_cast<std::size_t>(shape.rows); }
  std::size_t n_cols() const { return static_cast<std::size_t>(shape.cols); }

  DType type;
  KernelShape shape;
  std::size_t row_bytes;
  std::vector<float> values, importance;  ///< [rows][cols], [cols]
  std::vector<float> tokens;              ///< [kMostTokens][cols]
  std::vector<std::byte> stored, stored_by_importance;
  std::vector<float> decoded;

  static constexpr int kMostTokens = 32;
};

/// Where the results of an operation go, and what it needs that depends on the set.
struct KernelResults {
  explicit KernelResults(const KernelOperands& in);

  std::vector<std::byte> stored;
  std::vector<float> values;  ///< of products: [tokens][rows]
  AlignedBytes panels, tiles;
  bool exact = true;  ///< the product has the bits of the plain one
};

struct KernelOperation {
  const char* name;
  void (*run)(const kernels::KernelTable&, const KernelOperands&, KernelResults&);
  bool (*holds)(const KernelOperands&, const KernelResults&);
  /// The kernel's address, to see whether a set has one of its own. Null: the type has none.
  const void* (*kernel)(const kernels::KernelTable&, DType);
  int tokens = 0;  ///< of a product
  /// Before the time is taken.
  void (*prepare)(const kernels::KernelTable&, const KernelOperands&, KernelResults&) = nullptr;
  bool of_panels = false;
  bool from_memory = false;  ///< timed with panels that no cache holds (kernel_stream.h)
};

std::span<const KernelOperation> all_kernel_operations();

/// Some panels of a matrix of `rows` rows.
struct PanelRange {
  const std::byte* panels;  ///< of the matrix
  int rows;
  int begin, end;
};
/// y[t][row] of the rows of these panels with the first n_tokens tokens, which `prepared` has in
/// the set's form.
void multiply_panels(const kernels::KernelTable& table, const KernelOperands& in,
                     const KernelResults& prepared, int n_tokens, const PanelRange& range,
                     float* y);

/// Throws Error(failure): the kernel's results are wrong.
[[noreturn]] void refuse(const KernelOperation& operation, const kernels::KernelTable& table,
                         DType type);

/// Processor time of this thread.
std::int64_t thread_time_ns();
/// How often a sample runs what takes so long.
int rounds_of_sample(std::int64_t once_ns);

}  // namespace lq

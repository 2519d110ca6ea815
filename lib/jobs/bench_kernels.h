#pragma once
// Speed of single kernels on one thread, each checked before it is timed.
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/blocks/dtype.h"
#include "kernels/cpu/kernel_table.h"
#include "lib/base/monitor.h"
#include "lib/jobs/bench_report.h"

namespace lq {

/// What is measured: the rows of the list in kernel_operations.cpp.
std::vector<std::string> kernel_operations();

/// Of a matrix of weights.
struct KernelShape {
  int rows = 64;  ///< four panels: one token takes so many together
  int cols = 2048;

  static constexpr std::int64_t kMostWeights = std::int64_t{1} << 26;
};
/// "4096x14336", rows first, or nothing when it is none or has more than kMostWeights.
std::optional<KernelShape> parse_shape(std::string_view text);

struct KernelBenchOptions {
  std::vector<DType> types;             ///< empty: every type with a codec
  std::vector<std::string> sets;        ///< instruction sets; empty: every one that works here
  std::vector<std::string> operations;  ///< empty: all
  int repetitions = 5;
  /// Without it the default one; what streams from memory is then one matrix as long as that.
  std::optional<KernelShape> shape;
  std::uint64_t stream_bytes = 0;  ///< 0: stream_bytes_of(machine)
};

/// One operation on one type with one instruction set.
struct KernelCase {
  std::string operation, isa;
  DType type = DType::F32;
  std::uint64_t weights = 0, stored_bytes = 0;  ///< that one sample goes through
  std::uint64_t panel_bytes = 0;                ///< of products with panels: the same as panels
  int rows = 0, cols = 0;                       ///< of the matrix
  int tokens = 0;                               ///< of a product
  std::vector<std::int64_t> samples_ns;         ///< processor time of the one thread
  double peak = 0;  ///< operations a second of the instructions alone; 0: not known
  /// From memory: what a plain loop took for so many bytes of it, each sample in turn with that of
  /// the product.
  std::vector<std::int64_t> read_samples_ns;
  std::uint64_t read_bytes = 0;
  std::uint64_t memory_bytes = 0;  ///< that samples go around

  Spread weights_per_second() const;
  /// Multiplications and additions of a product.
  double operations_per_second() const { return 2 * tokens * weights_per_second().median; }
  bool from_memory() const { return !read_samples_ns.empty(); }
  /// Of the bytes that the kernel reads: panels from memory, else what is stored.
  double bytes_per_second() const;
  Spread read_bytes_per_second() const;
  /// Operations, or, from memory, the median ratio of bytes of panels to bytes that were read in
  /// turn with them. 0: not known.
  double percent_of_peak() const;
};

struct KernelReport {
  MachineFacts machine;
  std::vector<KernelCase> cases;
  std::uint64_t stream_bytes = 0;  ///< that the products from memory go around
};

/// What 100 per cent are, for people.
std::string meaning_of_peak(const KernelReport& report, bool from_memory);

/// Measures every operation, type and set that has a kernel of its own (one that a set takes from
/// the set below is not measured again) and calls `on_case` after each. Throws Error(usage) for
/// sets that do not work here and shapes that a type cannot have, Error(failure) for a kernel that
/// disagrees with the type's definition: it is not timed.
KernelReport bench_kernels(const KernelBenchOptions& options,
                           const std::function<void(const KernelCase&)>& on_case, Monitor& monitor);

/// The same for these tables instead of options.sets. None of their slots for wanted types is null.
KernelReport bench_kernels(std::span<const kernels::KernelTable* const> tables,
                           const KernelBenchOptions& options,
                           const std::function<void(const KernelCase&)>& on_case, Monitor& monitor);

/// An instruction set, for --explain.
struct SetChoice {
  std::string name;
  std::vector<std::string> needs;  ///< of the processor
  bool supported = false, chosen = false;
};
struct SetChoices {
  std::vector<SetChoice> sets;  ///< best last
  std::string reason;           ///< why the chosen one is
};
/// Throws Error(usage) when $LQ_CPU_ISA names none that works here.
SetChoices explain_sets();

/// lq.bench.kernels/1.
OrderedJson to_json(const KernelReport& report);

}  // namespace lq

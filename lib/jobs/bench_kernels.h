#pragma once
// Speed of single kernels on one thread, each checked before it is timed.
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/blocks/dtype.h"
#include "kernels/cpu/kernel_table.h"
#include "lib/base/monitor.h"
#include "lib/jobs/bench_report.h"

namespace lq {

/// What is measured: the rows of the list in bench_kernels.cpp.
std::vector<std::string> kernel_operations();

struct KernelBenchOptions {
  std::vector<DType> types;             ///< empty: every type with a codec
  std::vector<std::string> sets;        ///< instruction sets; empty: every one that works here
  std::vector<std::string> operations;  ///< empty: all
  int repetitions = 5;
};

/// One operation on one type with one instruction set.
struct KernelCase {
  std::string operation, isa;
  DType type = DType::F32;
  std::uint64_t weights = 0, stored_bytes = 0;  ///< that one sample goes through
  int tokens = 0;                               ///< of a product
  std::vector<std::int64_t> samples_ns;         ///< processor time of the one thread
  double peak = 0;  ///< operations a second of the instructions alone; 0: not known

  Spread weights_per_second() const;
  /// Multiplications and additions of a product.
  double operations_per_second() const { return 2 * tokens * weights_per_second().median; }
  double percent_of_peak() const { return peak > 0 ? 100 * operations_per_second() / peak : 0; }
};

struct KernelReport {
  MachineFacts machine;
  std::vector<KernelCase> cases;
};

/// Measures every operation, type and set that has a kernel of its own (one that a set takes from
/// the set below is not measured again) and calls `on_case` after each. Throws Error(usage) for
/// sets that do not work here, Error(failure) for a kernel that disagrees with the type's
/// definition: it is not timed.
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

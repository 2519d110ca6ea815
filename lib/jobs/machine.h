#pragma once
// Facts about the machine that a measurement depends on.
#include <cstddef>
#include <cstdint>
#include <string>

namespace lq {

struct MachineFacts {
  std::string cpu;               ///< model name, e.g. "AMD EPYC 7763"
  int cores = 0;                 ///< that this process may run on
  std::string instruction_sets;  ///< those that matter here, e.g. "avx2 fma f16c"
  std::uint64_t memory_bytes = 0;
  std::uint64_t l2_cache_bytes = 0, l3_cache_bytes = 0;  ///< 0: not known
  std::string operating_system;                          ///< "Linux 6.1.0 x86_64"
};

MachineFacts machine_facts();

/// Reads n_bytes, a multiple of 64, at a multiple of 16, as fast as a plain loop can. The result
/// keeps the reading from being optimised away.
std::uint64_t read_memory(const std::byte* memory, std::size_t n_bytes);

/// Bytes a second that `threads` threads read together from a buffer much larger than the caches:
/// the median of `rounds` passes. The upper bound of anything that reads weights from memory.
/// Throws Error(resource).
double read_bandwidth(int threads, int rounds = 5);

/// Largest resident memory of this process since the last reset_peak_memory(), or since its start
/// where the system cannot reset it.
std::uint64_t peak_memory();
void reset_peak_memory();

}  // namespace lq

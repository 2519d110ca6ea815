#include "lib/jobs/machine.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "lib/backend/host_buffer.h"
#include "lib/base/parallel.h"
#include "lib/base/statistics.h"
#include "lib/base/thread_pool.h"

namespace lq {
namespace {

/// The value of the first line "key : value" of a file like /proc/cpuinfo, or nothing.
std::string field(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos || line.compare(0, key.size(), key) != 0) continue;
    const auto start = line.find_first_not_of(" \t", colon + 1);
    return start == std::string::npos ? std::string() : line.substr(start);
  }
  return {};
}

std::string interesting_flags() {
  static const char* const kInteresting[] = {"avx2",     "fma",      "f16c",        "avx512f",
                                             "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
                                             "avx_vnni", "amx_tile", "amx_int8",    "amx_bf16"};
  std::istringstream flags(field("/proc/cpuinfo", "flags"));
  std::vector<std::string> present;
  for (std::string flag; flags >> flag;) present.push_back(flag);
  std::string result;
  for (const char* flag : kInteresting)
    if (std::find(present.begin(), present.end(), flag) != present.end()) {
      if (!result.empty()) result += ' ';
      result += flag;
    }
  return result;
}

/// Of the first core's cache of data, as Linux says; what the C library makes of the processor's
/// own description counts other guests' caches on some virtual machines.
std::uint64_t cache_bytes(int level, int fallback) {
  for (int i = 0; i < 8; ++i) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    std::string kind, size;
    int its_level = 0;
    if (!(std::ifstream(folder + "level") >> its_level)) break;
    std::ifstream(folder + "type") >> kind;
    std::uint64_t kibibytes = 0;
    char unit = 0;
    if (its_level == level && kind != "Instruction" &&
        std::ifstream(folder + "size") >> kibibytes >> unit && unit == 'K')
      return kibibytes * 1024;
  }
  const long bytes = sysconf(fallback);
  return bytes > 0 ? static_cast<std::uint64_t>(bytes) : 0;
}

constexpr std::size_t kReadBytes = std::size_t{512} << 20;  // much larger than most caches
constexpr std::size_t kLineBytes = 64;
constexpr std::ptrdiff_t kLine = kLineBytes / sizeof(std::uint64_t);
constexpr std::ptrdiff_t kAhead = 16 * 1024 / 8;  // far enough for every machine that was measured

}  // namespace

/// A line at a time, spelt out: this file is not compiled for speed.
std::uint64_t read_memory(const std::byte* memory, std::size_t n_bytes) {
  const auto* const words = reinterpret_cast<const std::uint64_t*>(memory);
  const auto n = static_cast<std::ptrdiff_t>(n_bytes / sizeof(std::uint64_t));
  using Pair = std::uint64_t __attribute__((vector_size(16)));
  const auto pair = [&](std::ptrdiff_t i) { return *reinterpret_cast<const Pair*>(words + i); };
  Pair a{}, b{}, c{}, d{};
  for (std::ptrdiff_t i = 0; i < n; i += kLine) {
    __builtin_prefetch(words + i + kAhead);
    a += pair(i);
    b += pair(i + 2);
    c += pair(i + 4);
    d += pair(i + 6);
  }
  const Pair total = a + b + c + d;
  return total[0] + total[1];
}

MachineFacts machine_facts() {
  MachineFacts facts;
  facts.cpu = field("/proc/cpuinfo", "model name");
  facts.cores = available_threads();
  facts.instruction_sets = interesting_flags();
  facts.memory_bytes = static_cast<std::uint64_t>(std::max(0L, sysconf(_SC_PHYS_PAGES))) *
                       static_cast<std::uint64_t>(std::max(0L, sysconf(_SC_PAGESIZE)));
  facts.l2_cache_bytes = cache_bytes(2, _SC_LEVEL2_CACHE_SIZE);
  facts.l3_cache_bytes = cache_bytes(3, _SC_LEVEL3_CACHE_SIZE);
  if (utsname name; uname(&name) == 0)
    facts.operating_system = std::string(name.sysname) + " " + name.release + " " + name.machine;
  return facts;
}

double read_bandwidth(int threads, int rounds) {
  const auto buffer = make_host_buffer(kReadBytes, Pages::large);
  std::byte* const bytes = buffer->data();
  ThreadPool pool(threads);
  const auto for_each_part = [&](const auto& body) {
    pool.run(threads, [&](int i, int) {
      const auto at = [&](int part) {
        return kReadBytes / kLineBytes * static_cast<std::size_t>(part) /
               static_cast<std::size_t>(threads) * kLineBytes;
      };
      body(bytes + at(i), at(i + 1) - at(i));
    });
  };
  // Pages that were never written are one page of zeros.
  for_each_part([&](std::byte* part, std::size_t n) { std::memset(part, 1, n); });
  std::vector<double> rates;
  std::atomic<std::uint64_t> used = 0;  // keeps the sums from being optimised away
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for_each_part([&](std::byte* part, std::size_t n) { used += read_memory(part, n); });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    rates.push_back(static_cast<double>(kReadBytes) / seconds.count());
  }
  return spread_of(rates).median;
}

std::uint64_t peak_memory() {
  std::uint64_t kibibytes = 0;
  std::istringstream(field("/proc/self/status", "VmHWM")) >> kibibytes;
  return kibibytes * 1024;
}

void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace lq

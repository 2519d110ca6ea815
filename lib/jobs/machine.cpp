#include "lib/jobs/machine.h"

#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <sstream>
#include <vector>

#include "lib/base/error.h"
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

std::uint64_t cache_bytes(int name) {
  const long bytes = sysconf(name);
  return bytes > 0 ? static_cast<std::uint64_t>(bytes) : 0;
}

/// Anonymous memory in large pages where the system has them, filled.
class ReadBuffer {
 public:
  static constexpr std::size_t kBytes = std::size_t{512} << 20;
  ReadBuffer()
      : memory_(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED)
      fail(ErrorKind::resource, "not enough memory for the bandwidth test (512 MiB)");
    madvise(memory_, kBytes, MADV_HUGEPAGE);
  }
  ~ReadBuffer() { munmap(memory_, kBytes); }
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;

  std::uint64_t* words() const { return static_cast<std::uint64_t*>(memory_); }
  static constexpr std::ptrdiff_t kWords = kBytes / sizeof(std::uint64_t);

 private:
  void* memory_;
};

constexpr std::ptrdiff_t kLine = 8;               // words in a cache line
constexpr std::ptrdiff_t kAhead = 16 * 1024 / 8;  // far enough for every machine that was measured

/// A line at a time, spelt out: this file is not compiled for speed.
std::uint64_t sum(const std::uint64_t* words, std::ptrdiff_t n) {
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

}  // namespace

MachineFacts machine_facts() {
  MachineFacts facts;
  facts.cpu = field("/proc/cpuinfo", "model name");
  facts.cores = available_threads();
  facts.instruction_sets = interesting_flags();
  facts.memory_bytes = static_cast<std::uint64_t>(std::max(0L, sysconf(_SC_PHYS_PAGES))) *
                       static_cast<std::uint64_t>(std::max(0L, sysconf(_SC_PAGESIZE)));
  facts.l2_cache_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE);
  facts.l3_cache_bytes = cache_bytes(_SC_LEVEL3_CACHE_SIZE);
  if (utsname name; uname(&name) == 0)
    facts.operating_system = std::string(name.sysname) + " " + name.release + " " + name.machine;
  return facts;
}

double read_bandwidth(int threads, int rounds) {
  const ReadBuffer buffer;
  ThreadPool pool(threads);
  const auto for_each_part = [&](const auto& body) {
    pool.run(threads, [&](int i, int) {
      const auto at = [&](int part) { return ReadBuffer::kWords / kLine * part / threads * kLine; };
      body(at(i), at(i + 1));
    });
  };
  for_each_part([&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t i = begin; i < end; ++i) buffer.words()[i] = static_cast<std::uint64_t>(i);
  });
  std::vector<double> rates;
  std::atomic<std::uint64_t> used = 0;  // keeps the sums from being optimised away
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for_each_part([&](std::ptrdiff_t begin, std::ptrdiff_t end) {
      used += sum(buffer.words() + begin, end - begin);
    });
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    rates.push_back(static_cast<double>(ReadBuffer::kBytes) / seconds.count());
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

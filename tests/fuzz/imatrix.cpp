// Any bytes are an importance matrix or an Error.
#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/base/error.h"
#include "lib/jobs/importance.h"
#include "lib/jobs/importance_statistics.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const lq::ImportanceMatrix matrix =
        lq::parse_importance(std::as_bytes(std::span(data, size)), "input");
    for (const auto& [name, entry] : matrix.entries)
      if (entry.counts.empty() || entry.columns() * entry.counts.size() != entry.sums.size())
        __builtin_trap();
    if (lq::importance_statistics(matrix).size() != matrix.entries.size()) __builtin_trap();
    // What was read can be added up.
    lq::ImportanceMatrix sum;
    sum.chunk_size = matrix.chunk_size > 0 ? matrix.chunk_size : lq::kDefaultChunkSize;
    lq::merge_importance(sum, matrix);
    if (sum.entries.size() != matrix.entries.size()) __builtin_trap();
  } catch (const lq::Error&) {
  }
  return 0;
}

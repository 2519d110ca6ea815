// Times attention alone, through the backend: 8 key-value heads, 4 query heads each.
//
//   lq_time_attention [TYPE] [HEAD_DIM] [THREADS] [ISA] [ROUNDING]
//
// Without arguments f16 64 1, the best set and bytes; ROUNDING is none, bfloat16 or bytes.
// Prompts are 512 tokens at several depths; generation is one token, each time over the cache of
// another layer, 256 MiB in all, so that it comes from memory. Best of 0.4 s a case.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "lib/backend/backend.h"
#include "lib/base/random.h"

namespace {

using namespace lq;

constexpr int kHeads = 32, kKvHeads = 8, kPageTokens = 256;

std::vector<float> random_values(std::size_t n) {
  Random random(1);
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(random.uniform() - 0.5);
  return values;
}

struct Case {
  Backend& backend;
  DType type;
  int dim, n_tokens, depth;
  AttentionRounding rounding;

  int n_positions() const { return n_tokens + depth; }
  int n_pages() const { return (n_positions() + kPageTokens - 1) / kPageTokens; }
  std::size_t pool_bytes() const {
    return traits(type).row_bytes(static_cast<std::size_t>(dim)) *
           static_cast<std::size_t>(n_pages() * kPageTokens * kKvHeads);
  }

  /// Seconds of the fastest call.
  double run() const {
    const std::size_t layers =
        n_tokens > 1 ? 1 : std::max<std::size_t>(1, (std::size_t{128} << 20) / pool_bytes());
    std::vector<float> q = random_values(static_cast<std::size_t>(n_tokens * kHeads * dim));
    std::vector<float> kv = random_values(static_cast<std::size_t>(n_positions() * kKvHeads * dim));
    std::vector<float> out(q.size());
    std::vector<std::int32_t> pages(static_cast<std::size_t>(n_pages()));
    std::iota(pages.begin(), pages.end(), 0);
    std::vector<std::unique_ptr<Buffer>> keys, values;
    const auto cache = [&](std::size_t layer) {
      return CacheView{keys[layer]->data(), values[layer]->data(), pages, kPageTokens, type};
    };
    for (std::size_t i = 0; i < layers; ++i) {
      keys.push_back(backend.allocate(pool_bytes()));
      values.push_back(backend.allocate(pool_bytes()));
      const View view{kv.data(), n_positions(), kKvHeads * dim};
      backend.kv_append(view, view, kKvHeads, 0, cache(i));
    }
    double best = 1e9, total = 0;
    for (std::size_t i = 0; total < 0.4 || i < 3; ++i) {
      const auto start = std::chrono::steady_clock::now();
      backend.attention({.q = {q.data(), n_tokens, kHeads * dim},
                         .cache = cache(i % layers),
                         .n_heads = kHeads,
                         .n_kv_heads = kKvHeads,
                         .head_dim = dim,
                         .value_dim = dim,
                         .first_position = depth,
                         .scale = 0.3f,
                         .rounding = rounding,
                         .out = {out.data(), n_tokens, kHeads * dim}});
      const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
      best = std::min(best, spent.count());
      total += spent.count();
    }
    return best;
  }

  void report() const {
    const double seconds = run();
    double pairs = 0;
    for (int t = 0; t < n_tokens; ++t) pairs += depth + t + 1;
    std::printf("%-5s dim %3d  %3d tokens at %5d: %9.1f us  %6.1f GFLOP/s  %5.1f GB/s\n",
                traits(type).name, dim, n_tokens, depth, 1e6 * seconds,
                1e-9 * pairs * 4 * kHeads * dim / seconds,
                1e-9 * 2 * static_cast<double>(pool_bytes()) / seconds);
    std::fflush(stdout);
  }
};

}  // namespace

int main(int argc, char** argv) {
  const DType type = dtype_named(argc > 1 ? argv[1] : "f16").value_or(DType::F16);
  const int dim = argc > 2 ? std::atoi(argv[2]) : 64;
  const auto backend = make_cpu_backend(argc > 3 ? std::atoi(argv[3]) : 1, argc > 4 ? argv[4] : "");
  const std::string name = argc > 5 ? argv[5] : "bytes";
  const auto rounding = name == "none"       ? AttentionRounding::none
                        : name == "bfloat16" ? AttentionRounding::bfloat16
                                             : AttentionRounding::bytes;
  for (const int depth : {0, 4096, 8192}) Case{*backend, type, dim, 512, depth, rounding}.report();
  for (const int depth : {1023, 4095, 16383})
    Case{*backend, type, dim, 1, depth, rounding}.report();
}

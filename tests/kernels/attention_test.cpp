// Attention of every kernel set and type of cache against binary64.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>

#include "kernels/cpu/kernel_table.h"
#include "tests/support/kernel_data.h"

namespace {

using namespace lq::kernels;
using lq::DType;
using namespace lq::test;

constexpr DType kCacheTypes[] = {
#define LQ_CACHE_TYPE(type) DType::type,
#include "kernels/blocks/cache_types.def"
#undef LQ_CACHE_TYPE
};
constexpr int kKvHeads = 3, kHead = 1;

/// Queries of n_tokens after `depth` positions, and the call that answers them.
struct Queries {
  CacheCase& cache;
  int n_tokens, group, depth;
  float scale;
  bool exact = true;
  std::vector<float> query, out, scratch;

  Queries(CacheCase& c, int tokens, int heads, int first, float factor)
      : cache(c), n_tokens(tokens), group(heads), depth(first), scale(factor) {
    const auto rows = static_cast<std::size_t>(n_tokens * group);
    query = normal_values(rows * static_cast<std::size_t>(c.head_dim), 5);
    out.resize(rows * static_cast<std::size_t>(c.value_dim));
    scratch.resize(attention_scratch(c.head_dim, c.value_dim), kNan);
  }
  int positions() const { return depth + n_tokens; }
  AttentionArgs args() {
    const auto page = static_cast<std::size_t>(kKvHeads * cache.page_tokens);
    return {.query = query.data(),
            .query_stride = static_cast<std::size_t>(group * cache.head_dim),
            .keys = cache.keys.data() +
                    static_cast<std::size_t>(kHead * cache.page_tokens) * cache.key_row(),
            .values = cache.values.data() +
                      static_cast<std::size_t>(kHead * cache.page_tokens) * cache.value_row(),
            .key_row = cache.key_row(),
            .value_row = cache.value_row(),
            .key_page = page * cache.key_row(),
            .value_page = page * cache.value_row(),
            .page_table = cache.pages.data(),
            .page_tokens = cache.page_tokens,
            .n_tokens = n_tokens,
            .group = group,
            .head_dim = cache.head_dim,
            .value_dim = cache.value_dim,
            .first_position = depth,
            .begin = 0,
            .end = positions(),
            .scale = scale,
            .out = out.data(),
            .out_stride = static_cast<std::size_t>(group * cache.value_dim),
            .peaks = nullptr,
            .totals = nullptr,
            .scratch = scratch.data(),
            .exact = exact};
  }
  /// The largest error of some of the rows, the first and the last among them.
  double worst_error() const {
    const int rows = n_tokens * group, step = std::max(1, rows / 7);
    double worst = 0;
    for (int row = 0; row < rows; row = row + 1 < rows ? std::min(row + step, rows - 1) : rows) {
      const auto expected = cache.reference(query.data() + row * cache.head_dim, kHead,
                                            depth + row / group + 1, static_cast<double>(scale));
      const float* const actual = out.data() + row * cache.value_dim;
      for (std::size_t i = 0; i < expected.size(); ++i)
        keep_worst(worst, std::fabs(static_cast<double>(actual[i]) - expected[i]));
    }
    return worst;
  }
};

/// With Q8_0 few rows meet it with queries and weights rounded to 16 bits.
double bound_of(DType type) { return type == DType::Q8_0 ? 3e-4 : 5e-6; }

struct Shape {
  int head_dim, value_dim;
};
constexpr Shape kShapes[] = {{4, 4},   {3, 5},   {20, 12},   {8, 80},  {32, 32},
                             {64, 64}, {80, 80}, {128, 128}, {96, 32}, {64, 256}};

/// Calls check(table, cache) for every set, type and shape of heads that goes with the type.
template <class Check>
void for_each_cache(int page_tokens, int n_positions, const Check& check) {
  for (const DType type : kCacheTypes)
    for (const Shape shape : kShapes) {
      const int block = traits(type).values;
      if (shape.head_dim % block != 0 || shape.value_dim % block != 0) continue;
      CacheCase cache(type, kKvHeads, shape.head_dim, shape.value_dim, page_tokens,
                      n_positions + 9);
      cache.fill(n_positions, 6);
      CAPTURE(std::string(traits(type).name));
      CAPTURE(shape.head_dim);
      CAPTURE(shape.value_dim);
      CAPTURE(page_tokens);
      CAPTURE(n_positions);
      for (const KernelSet& set : kernel_sets()) {
        if (!set.supported) continue;
        CAPTURE(std::string(set.table->name));
        check(*kernel_table(set.table->name), cache);
      }
    }
}

/// A set may round queries, keys, weights and values to bfloat16 unless it is to be exact.
constexpr double kRoundedBound = 2.5e-2;

void check_attention(const KernelTable& table, CacheCase& cache, int n_tokens, int group,
                     int n_positions, std::map<std::string, double>& worst) {
  CAPTURE(n_tokens);
  CAPTURE(group);
  Queries queries(cache, n_tokens, group, n_positions - n_tokens,
                  1.5f / std::sqrt(static_cast<float>(cache.head_dim)));
  table.attention[static_cast<int>(cache.type)](queries.args());
  const double error = queries.worst_error();
  const std::string name = std::string(table.name) + " " + traits(cache.type).name;
  keep_worst(worst[name], error);
  CHECK(error < bound_of(cache.type));
  queries.exact = false;
  table.attention[static_cast<int>(cache.type)](queries.args());
  const double rounded = queries.worst_error();
  keep_worst(worst[name + ", rounded"], rounded);
  CHECK(rounded < (cache.type == DType::F32 ? bound_of(cache.type) : kRoundedBound));
}

}  // namespace

TEST_CASE("attention agrees with binary64 in every set and type of cache") {
  std::map<std::string, double> worst;
  struct Context {
    int n_positions, page_tokens;
  };
  for (const Context c :
       {Context{1, 64}, {2, 1}, {7, 5}, {33, 16}, {63, 64}, {64, 24}, {65, 64}, {130, 100}})
    for_each_cache(c.page_tokens, c.n_positions, [&](const KernelTable& table, CacheCase& cache) {
      for (const int group : {1, 3, 4, 8})
        for (const int n_tokens : {1, 2, 5, 33, 64})
          if (n_tokens <= c.n_positions)
            check_attention(table, cache, n_tokens, group, c.n_positions, worst);
    });
  for (const auto& [name, error] : worst)
    std::printf("attention %-25s largest error %.2g\n", name.c_str(), error);
}

TEST_CASE("attention agrees with binary64 in long contexts") {
  std::map<std::string, double> worst;
  for_each_cache(64, 1000, [&](const KernelTable& table, CacheCase& cache) {
    check_attention(table, cache, 1, 4, 1000, worst);
    check_attention(table, cache, 3, 5, 1000, worst);
    check_attention(table, cache, 100, 3, 1000, worst);
  });
}

TEST_CASE("attention over parts of the positions is put together again") {
  for_each_cache(7, 300, [&](const KernelTable& table, CacheCase& cache) {
    for (const int n_tokens : {1, 3, 40}) {
      CAPTURE(n_tokens);
      constexpr int kGroup = 3;
      Queries queries(cache, n_tokens, kGroup, 300 - n_tokens, 0.2f);
      const auto rows = static_cast<std::size_t>(n_tokens * kGroup);
      const auto dims = static_cast<std::size_t>(cache.value_dim);
      std::vector<float> sum(rows * dims), total(rows), peak(rows, -1e30f);
      for (const auto& [begin, end] : {std::pair{0, 150}, {150, 151}, {151, 285}, {285, 300}}) {
        AttentionArgs args = queries.args();
        std::vector<float> peaks(rows, kNan), totals(rows, kNan);
        args.begin = begin;
        args.end = end;
        args.peaks = peaks.data();
        args.totals = totals.data();
        table.attention[static_cast<int>(cache.type)](args);
        for (std::size_t r = 0; r < rows; ++r) {
          const bool sees = begin <= queries.depth + static_cast<int>(r) / kGroup;
          REQUIRE((totals[r] > 0) == sees);
          if (!sees) continue;
          const float top = std::max(peak[r], peaks[r]);
          const float keep = std::exp2(peak[r] - top), weight = std::exp2(peaks[r] - top);
          peak[r] = top;
          total[r] = keep * total[r] + weight * totals[r];
          for (std::size_t i = r * dims; i < (r + 1) * dims; ++i)
            sum[i] = keep * sum[i] + weight * queries.out[i];
        }
      }
      for (std::size_t i = 0; i < sum.size(); ++i) queries.out[i] = sum[i] / total[i / dims];
      CHECK(queries.worst_error() < bound_of(cache.type));
    }
  });
}

TEST_CASE("attention takes scores of any size") {
  for_each_cache(16, 80, [&](const KernelTable& table, CacheCase& cache) {
    for (const int n_tokens : {1, 40}) {
      Queries queries(cache, n_tokens, 4, 80 - n_tokens, 1e4f);
      table.attention[static_cast<int>(cache.type)](queries.args());
      for (const float x : queries.out) REQUIRE(std::isfinite(x));
      queries.exact = false;
      table.attention[static_cast<int>(cache.type)](queries.args());
      for (const float x : queries.out) REQUIRE(std::isfinite(x));
      queries.exact = true;
      queries.scale = 0;
      table.attention[static_cast<int>(cache.type)](queries.args());
      CHECK(queries.worst_error() < bound_of(cache.type));
    }
  });
}

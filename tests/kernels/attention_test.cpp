// Attention of every kernel set and type of cache against binary64.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>

#include "kernels/cpu/kernel_table.h"
#include "tests/support/attention_queries.h"

namespace {

using namespace lq::kernels;
using lq::DType;
using namespace lq::test;

constexpr DType kCacheTypes[] = {
#define LQ_CACHE_TYPE(type) DType::type,
#include "kernels/blocks/cache_types.def"
#undef LQ_CACHE_TYPE
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
      Queries queries(cache, n_tokens, 3, 300 - n_tokens, 0.2f);
      REQUIRE(queries.attend_parts({0, 150, 151, 285}, [&](const AttentionArgs& part) {
        table.attention[static_cast<int>(cache.type)](part);
      }));
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

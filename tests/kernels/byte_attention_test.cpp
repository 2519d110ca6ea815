// Attention by codes of 8 bits, of every set that has it, against binary64.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "tests/support/attention_queries.h"

namespace lq::test::bytes {
namespace {

constexpr DType kTypes[] = {DType::F16, DType::Q8_0};
/// Where values are N(0,1): of one result and of all those of a case. A value alone may be rounded
/// by 1.6e-2.
constexpr double kBound = 6e-2, kRmsBound = 1.6e-2;

/// A head's positions as blocks.
struct Blocks {
  std::size_t bytes_each;
  std::vector<std::byte> bytes;

  Blocks(const ByteAttention& way, Queries& queries)
      : bytes_each(way.block_bytes(queries.cache.head_dim, queries.cache.value_dim)) {
    const int n = (queries.positions() + way.positions - 1) / way.positions;
    bytes.assign(bytes_each * static_cast<std::size_t>(n), std::byte{0xff});
    for (int i = 0; i < n; ++i)
      way.prepare[index_of(queries.cache.type)](
          queries.args(), i, bytes.data() + bytes_each * static_cast<std::size_t>(i));
    queries.scratch.assign(way.scratch(queries.cache.head_dim, queries.cache.value_dim), kNan);
  }
};

void attend(const ByteAttention& way, Queries& queries) {
  const Blocks blocks(way, queries);
  way.attend(queries.args(), blocks.bytes.data());
}

/// Calls check(way, name) for every set that has a way of its own.
template <class Check>
void for_each_way(const Check& check) {
  int n_ways = 0;
  for (const KernelSet& set : kernel_sets()) {
    if (!set.supported || set.table->byte_attention.positions == 0) continue;
    ++n_ways;
    CAPTURE(std::string(set.table->name));
    check(set.table->byte_attention, std::string(set.table->name));
  }
  if (n_ways == 0) MESSAGE("skipped: no set here has attention by codes of 8 bits");
}

struct Shape {
  int head_dim, value_dim;
};

/// Calls check(way, name, cache) for every way, type and shape of heads.
template <class Check>
void for_each_cache(int page_tokens, int n_positions, const Check& check) {
  for_each_way([&](const ByteAttention& way, const std::string& name) {
    for (const DType type : kTypes)
      for (const Shape shape :
           {Shape{16, 16}, {32, 32}, {48, 16}, {64, 64}, {80, 80}, {96, 32}, {128, 256}}) {
        const int block = traits(type).values;
        if (shape.head_dim % block != 0 || shape.value_dim % block != 0) continue;
        CacheCase cache(type, kKvHeads, shape.head_dim, shape.value_dim, page_tokens,
                        n_positions + 9);
        cache.fill(n_positions, 6);
        CAPTURE(std::string(traits(type).name));
        CAPTURE(shape.head_dim);
        CAPTURE(shape.value_dim);
        CAPTURE(n_positions);
        check(way, name, cache);
      }
  });
}

float usual_scale(const CacheCase& cache) {
  return 1.5f / std::sqrt(static_cast<float>(cache.head_dim));
}

}  // namespace

TEST_CASE("attention by bytes agrees with binary64") {
  std::map<std::string, double> worst;
  struct Context {
    int n_positions, page_tokens;
  };
  for (const Context c :
       {Context{1, 64}, {2, 1}, {7, 5}, {63, 64}, {64, 24}, {65, 64}, {130, 100}, {1000, 64}})
    for_each_cache(c.page_tokens, c.n_positions,
                   [&](const ByteAttention& way, const std::string& name, CacheCase& cache) {
                     for (const int group : {1, 3, 8})
                       for (const int n_tokens : {1, 5, 33, 64, 130}) {
                         if (n_tokens > c.n_positions) continue;
                         CAPTURE(group);
                         CAPTURE(n_tokens);
                         Queries queries(cache, n_tokens, group, c.n_positions - n_tokens,
                                         usual_scale(cache));
                         attend(way, queries);
                         const Queries::Errors errors = queries.errors();
                         const std::string case_name = name + " " + traits(cache.type).name;
                         keep_worst(worst[case_name], errors.worst);
                         keep_worst(worst[case_name + ", root of the mean square"], errors.rms());
                         CHECK(errors.worst < kBound);
                         CHECK(errors.rms() < kRmsBound);
                       }
                   });
  for (const auto& [name, error] : worst)
    std::printf("attention by bytes %-43s largest error %.2g\n", name.c_str(), error);
}

TEST_CASE("attention by bytes over parts of the positions is put together again") {
  for_each_cache(7, 300, [&](const ByteAttention& way, const std::string&, CacheCase& cache) {
    Queries queries(cache, 100, 3, 200, 0.2f);
    const Blocks blocks(way, queries);
    REQUIRE(queries.attend_parts(
        {0, way.positions, 4 * way.positions},
        [&](const AttentionArgs& part) { way.attend(part, blocks.bytes.data()); }));
    CHECK(queries.worst_error() < kBound);
  });
}

TEST_CASE("attention by bytes of a row does not depend on the other rows") {
  for_each_cache(64, 200, [&](const ByteAttention& way, const std::string&, CacheCase& cache) {
    constexpr int kGroup = 3, kTokens = 120, kFirst = 17, kLast = 58;
    Queries whole(cache, kTokens, kGroup, 200 - kTokens, usual_scale(cache));
    attend(way, whole);
    Queries some(cache, kLast - kFirst, kGroup, 200 - kTokens + kFirst, usual_scale(cache));
    std::copy(whole.query.begin() + kFirst * kGroup * cache.head_dim,
              whole.query.begin() + kLast * kGroup * cache.head_dim, some.query.begin());
    attend(way, some);
    CHECK(std::equal(some.out.begin(), some.out.end(),
                     whole.out.begin() + kFirst * kGroup * cache.value_dim));
  });
}

TEST_CASE("attention by bytes takes scores and values of any size") {
  for_each_cache(16, 80, [&](const ByteAttention& way, const std::string&, CacheCase& cache) {
    Queries queries(cache, 40, 4, 40, 1e4f);
    attend(way, queries);
    for (const float x : queries.out) REQUIRE(std::isfinite(x));
    queries.scale = 0;
    attend(way, queries);
    CHECK(queries.worst_error() < kBound);
    // Rows of zeros and of the least numbers.
    std::vector<float> row(static_cast<std::size_t>(std::max(cache.head_dim, cache.value_dim)));
    for (int p = 0; p < 80; ++p) {
      std::fill(row.begin(), row.end(), p % 2 == 0 ? 0.0f : 6e-8f);
      traits(cache.type)
          .encode(row.data(), nullptr, cache.key(p, kHead),
                  static_cast<std::size_t>(cache.head_dim));
      traits(cache.type)
          .encode(row.data(), nullptr, cache.value(p, kHead),
                  static_cast<std::size_t>(cache.value_dim));
    }
    queries.scale = 1;
    attend(way, queries);
    CHECK(queries.worst_error() < 1e-7);
  });
}

TEST_CASE("attention by bytes gives no number for what is none") {
  for_each_way([](const ByteAttention& way, const std::string&) {
    for (const bool in_key : {true, false}) {
      CAPTURE(in_key);
      CacheCase cache(DType::F16, kKvHeads, 64, 64, 64, 200);
      cache.fill(100, 6);
      constexpr int kTokens = 40, kBad = 80;
      std::byte* const row = in_key ? cache.key(kBad, kHead) : cache.value(kBad, kHead);
      const std::uint16_t none = 0x7e00;
      std::memcpy(row + 10, &none, sizeof none);
      Queries queries(cache, kTokens, 1, 100 - kTokens, usual_scale(cache));
      attend(way, queries);
      for (int t = 0; t < kTokens; ++t) {
        CAPTURE(t);
        const float x = queries.out[static_cast<std::size_t>(t * 64)];
        CHECK(std::isnan(x) == (100 - kTokens + t >= kBad));
      }
    }
  });
}

TEST_CASE("attention by bytes does not lose many small weights") {
  for_each_way([](const ByteAttention& way, const std::string&) {
    constexpr int kPositions = 64, kDim = 64;
    CacheCase cache(DType::F16, kKvHeads, kDim, kDim, 64, kPositions);
    cache.fill(kPositions, 6);
    std::vector<float> key(kDim), value(kDim);
    // Position 0 has 1000 times the weight of any other; values are 1 but for its -1.
    for (int p = 0; p < kPositions; ++p) {
      key[0] = p == 0 ? std::log(1000.0f) : 0;
      std::fill(value.begin(), value.end(), p == 0 ? -1.0f : 1.0f);
      traits(cache.type).encode(key.data(), nullptr, cache.key(p, kHead), kDim);
      traits(cache.type).encode(value.data(), nullptr, cache.value(p, kHead), kDim);
    }
    constexpr int kTokens = 32;
    Queries queries(cache, kTokens, 1, kPositions - kTokens, 1);
    std::fill(queries.query.begin(), queries.query.end(), 0.0f);
    for (std::size_t t = 0; t < kTokens; ++t) queries.query[t * kDim] = 1;
    attend(way, queries);
    // Without the small weights all results would be -1, 0.1 away.
    const double error = queries.worst_error();
    std::printf("many small weights: largest error %.2g\n", error);
    CHECK(error < 0.02);
  });
}

TEST_CASE("attention by bytes with keys of which a value stands out") {
  for_each_way([](const ByteAttention& way, const std::string&) {
    constexpr int kPositions = 128, kDim = 64, kTokens = 32;
    CacheCase cache(DType::F16, kKvHeads, kDim, kDim, 64, kPositions);
    cache.fill(kPositions, 6);
    std::vector<float> key(kDim);
    for (int p = 0; p < kPositions; ++p) {
      traits(cache.type).decode(cache.key(p, kHead), key.data(), kDim);
      key[1] = 60;
      traits(cache.type).encode(key.data(), nullptr, cache.key(p, kHead), kDim);
    }
    Queries queries(cache, kTokens, 1, kPositions - kTokens, usual_scale(cache));
    attend(way, queries);
    const double error = queries.errors().rms();
    std::printf("a value that stands out of keys: root of the mean square of errors %.2g\n", error);
    CHECK(error < kRmsBound);
  });
}

}  // namespace lq::test::bytes

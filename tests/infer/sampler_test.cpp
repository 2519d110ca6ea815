#include "lib/infer/sampler.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>

#include "lib/base/error.h"

namespace {

using lq::Sampler;
using lq::SamplerOptions;
using lq::TokenId;

/// Nothing but the draw from the softmax.
SamplerOptions neutral() {
  SamplerOptions options;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  options.temperature = 1;
  return options;
}

std::map<TokenId, int> draws(const SamplerOptions& options, const std::vector<float>& logits, int n,
                             std::vector<TokenId> history = {}) {
  Sampler sampler(options, 7);
  std::map<TokenId, int> counts;
  for (int i = 0; i < n; ++i) ++counts[sampler.sample(logits, history)];
  return counts;
}

const std::vector<float> kLogits = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};

}  // namespace

TEST_CASE("sampler: the draw follows the softmax") {
  const int n = 40000;
  const auto counts = draws(neutral(), kLogits, n);
  const double expected[] = {0.1, 0.4, 0.2, 0.3};
  for (TokenId id = 0; id < 4; ++id) {
    const double p = expected[id];
    // Five standard deviations of a binomial.
    CHECK(std::abs(counts.at(id) - n * p) < 5 * std::sqrt(n * p * (1 - p)));
  }
}

TEST_CASE("sampler: the same seed gives the same tokens, another seed others") {
  const auto sequence = [](std::uint64_t seed) {
    Sampler sampler(neutral(), seed);
    std::vector<TokenId> ids;
    for (int i = 0; i < 64; ++i) ids.push_back(sampler.sample(kLogits, {}));
    return ids;
  };
  CHECK(sequence(1) == sequence(1));
  CHECK(sequence(1) != sequence(2));
}

TEST_CASE("sampler: temperature 0 takes the likeliest, the lowest id among equals") {
  SamplerOptions options;
  options.temperature = 0;
  CHECK(draws(options, {1, 3, 3, 2}, 10) == std::map<TokenId, int>{{1, 10}});
  options.repeat_penalty = 2;
  CHECK(draws(options, {1, 3, 3, 2}, 10, {1}) == std::map<TokenId, int>{{2, 10}});
}

TEST_CASE("sampler: top-k, top-p and min-p keep what they should") {
  SamplerOptions options = neutral();
  options.top_k = 2;
  CHECK(draws(options, kLogits, 2000).size() == 2);
  options = neutral();
  options.top_p = 0.69;  // 0.4 alone is not enough, 0.4 + 0.3 is
  CHECK(draws(options, kLogits, 2000).size() == 2);
  options.top_p = 0.71;
  CHECK(draws(options, kLogits, 2000).size() == 3);
  options.top_p = 0;
  CHECK(draws(options, kLogits, 200).size() == 1);
  options = neutral();
  options.min_p = 0.49;  // of 0.4: 0.196
  CHECK(draws(options, kLogits, 2000).size() == 3);
  options.min_p = 0.51;  // 0.204
  CHECK(draws(options, kLogits, 2000).size() == 2);
}

TEST_CASE("sampler: repetition penalty divides positive and multiplies negative logits") {
  SamplerOptions options = neutral();
  options.repeat_penalty = 1e2;
  options.temperature = 0;
  CHECK(draws(options, {-1, 50, 2}, 1, {1}).count(2) == 1);
  CHECK(draws(options, {-1, -2, -90}, 1, {0}).count(1) == 1);
  options.repeat_last_n = 1;  // the 1 is out of sight
  CHECK(draws(options, {-1, 50, 2}, 1, {1, 0}).count(1) == 1);
}

TEST_CASE("sampler: numbers that are none are never drawn, and all of them are an error") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(lq::likeliest(std::vector<float>{nan, 1, nan}) == 1);
  CHECK(draws(neutral(), {nan, 1, -inf}, 50) == std::map<TokenId, int>{{1, 50}});
  CHECK_THROWS_AS(lq::likeliest(std::vector<float>{nan, nan}), lq::Error);
  CHECK_THROWS_AS(draws(neutral(), {nan, nan}, 1), lq::Error);
}

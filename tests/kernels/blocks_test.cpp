#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/blocks/dtype.h"

namespace {

double rmse(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += difference * difference;
  }
  return std::sqrt(sum / static_cast<double>(a.size()));
}

}  // namespace

TEST_CASE("every storage type just meets the error bound in its row") {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(65536);
  for (float& value : x) value = normal(generator);
  lq::for_each_dtype([&](lq::DType, const lq::DTypeTraits& t) {
    CAPTURE(t.name);
    std::vector<std::byte> stored(t.row_bytes(x.size()));
    std::vector<float> back(x.size());
    t.encode(x.data(), nullptr, stored.data(), x.size());
    t.decode(stored.data(), back.data(), x.size());
    const double error = rmse(x, back);
    CHECK(error <= t.max_rmse);
    CHECK(error >= t.max_rmse / 2);
  });
}

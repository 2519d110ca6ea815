// Rounded inputs against a restatement that finds codes by looking at all of them.
#include "lib/backend/input_rounding.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>

#include "lib/backend/backend.h"
#include "tests/support/kernel_data.h"

namespace {

using namespace lq;
using test::normal_values;

/// Value of an E4M3 (4, 3, bias 7) or E2M1 (2, 1, bias 1) code without its sign.
double float_code(int code, int mantissa_bits, int bias) {
  const int exponent = code >> mantissa_bits, mantissa = code & ((1 << mantissa_bits) - 1);
  return exponent == 0
             ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
             : std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

/// The nearest of the values of codes [0, n), of two equally near ones that of the even code.
float nearest(float x, int n, int mantissa_bits, int bias) {
  const double magnitude = std::fabs(static_cast<double>(x));
  int best = 0;
  for (int code = 1; code < n; ++code) {
    const double error = std::fabs(float_code(code, mantissa_bits, bias) - magnitude);
    const double least = std::fabs(float_code(best, mantissa_bits, bias) - magnitude);
    if (error < least || (error == least && code % 2 == 0)) best = code;
  }
  return std::copysign(static_cast<float>(float_code(best, mantissa_bits, bias)), x);
}
float nearest_e4m3(float x) { return nearest(x, 127, 3, 7); }
float nearest_e2m1(float x) { return nearest(x, 8, 1, 1); }

float peak_of(const float* x, std::size_t n) {
  float peak = 0;
  for (std::size_t i = 0; i < n; ++i) peak = std::max(peak, std::fabs(x[i]));
  return peak;
}

void expect_group(const ActivationRounding& r, const float* x, std::size_t n, float* y) {
  const float peak = peak_of(x, n);
  float scale = r.scale != 0 ? r.scale : peak / 448;
  if (r.scheme == ActivationScheme::mxfp8_group)
    scale = std::ldexp(1.0f,
                       std::ilogb(peak) + (peak >= 1.75f * std::ldexp(1.0f, std::ilogb(peak))) - 8);
  for (std::size_t i = 0; i < n; ++i) {
    const float quotient = x[i] / scale;
    if (r.scheme == ActivationScheme::int8_token) {
      const float step = r.scale != 0 ? r.scale : peak / 127.5f;
      y[i] = std::nearbyint(std::min(std::max(x[i] / step, -128.0f), 127.0f)) * step;
    } else if (r.scheme == ActivationScheme::fp4_group) {
      const float held = nearest_e4m3(std::min(peak / 6 * r.scale, 448.0f)) / r.scale;
      y[i] = nearest_e2m1(x[i] / held) * held;
    } else {
      y[i] = nearest_e4m3(quotient) * scale;
    }
  }
}

std::vector<float> expected(const ActivationRounding& r, const std::vector<float>& x) {
  const std::size_t group = r.scheme == ActivationScheme::fp8_group     ? 128
                            : r.scheme == ActivationScheme::mxfp8_group ? 32
                            : r.scheme == ActivationScheme::fp4_group   ? 16
                                                                        : x.size();
  std::vector<float> y(x.size());
  for (std::size_t at = 0; at < x.size(); at += group)
    expect_group(r, x.data() + at, std::min(group, x.size() - at), y.data() + at);
  return y;
}

constexpr ActivationRounding kRoundings[] = {
    {ActivationScheme::int8_token, 0},          {ActivationScheme::int8_token, 0.0078125f},
    {ActivationScheme::fp8_token, 0},           {ActivationScheme::fp8_tensor, 0},
    {ActivationScheme::fp8_tensor, 0.0078125f}, {ActivationScheme::fp8_group, 0},
    {ActivationScheme::mxfp8_group, 0},         {ActivationScheme::fp4_group, 672.0f}};

std::vector<float> rounded(const kernels::KernelTable& table, const ActivationRounding& r,
                           const std::vector<float>& x) {
  RoundingScratch scratch;
  scratch.reserve(x.size());
  std::vector<float> y(x.size());
  round_input(table, r, x.data(), x.size(), scratch, y.data());
  return y;
}

}  // namespace

TEST_CASE("inputs are rounded as each scheme says, in every set alike") {
  for (const kernels::KernelSet& set : kernels::kernel_sets()) {
    if (!set.supported) continue;
    const kernels::KernelTable& table = *kernels::kernel_table(set.table->name);
    for (const ActivationRounding& r : kRoundings) {
      CAPTURE(static_cast<int>(r.scheme));
      for (std::uint32_t seed = 1; seed <= 3; ++seed) {
        std::vector<float> x = normal_values(320, seed);
        if (seed == 3)
          for (std::size_t i = 0; i < x.size(); i += 7) x[i] *= 1e-3f;
        CHECK(rounded(table, r, x) == expected(r, x));
      }
      const std::vector<float> zeros(320, 0.0f);
      CHECK(rounded(table, r, zeros) == zeros);
    }
  }
}

TEST_CASE("inputs that are not finite stay as they are") {
  const kernels::KernelTable& table = *kernels::kernel_table("generic");
  for (const ActivationRounding& r : kRoundings)
    for (const float bad : {test::kNan, test::kInfinity}) {
      std::vector<float> x = normal_values(128, 1);
      x[77] = bad;
      const auto y = rounded(table, r, x);
      CHECK(std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0);
    }
}

TEST_CASE("products round their input as the weight says, whatever tokens and threads") {
  constexpr int kCols = 256, kRows = 48;
  const kernels::KernelTable& table = *kernels::kernel_table("");
  for (const DType type : {DType::F32, DType::Q8_0}) {
    const test::StoredMatrix w(type, kRows, kCols, 1);
    for (const ActivationRounding& r : kRoundings)
      for (const int threads : {1, 3})
        for (const int n_tokens : {1, 3, 70}) {
          CAPTURE(static_cast<int>(r.scheme));
          CAPTURE(n_tokens);
          const auto backend = make_cpu_backend(threads, "");
          const auto n = static_cast<std::size_t>(n_tokens);
          std::vector<float> x = normal_values(n * kCols, 5), by_hand, y(n * kRows), expected(y);
          for (std::size_t t = 0; t < n; ++t) {
            const std::vector<float> token(
                x.begin() + static_cast<std::ptrdiff_t>(t * kCols),
                x.begin() + static_cast<std::ptrdiff_t>((t + 1) * kCols));
            const auto one = rounded(table, r, token);
            by_hand.insert(by_hand.end(), one.begin(), one.end());
          }
          WeightView plain{.type = type, .data = w.bytes.data(), .rows = kRows, .cols = kCols};
          const auto memory = backend->repack(plain);
          REQUIRE(memory);
          WeightView rounding = plain;
          rounding.input = r;
          backend->matmul(plain, {by_hand.data(), n_tokens, kCols},
                          {expected.data(), n_tokens, kRows});
          backend->matmul(rounding, {x.data(), n_tokens, kCols}, {y.data(), n_tokens, kRows});
          CHECK(y == expected);
        }
  }
}

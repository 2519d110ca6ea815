#include "lib/jobs/linear_bitsandbytes.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "kernels/blocks/nf4.h"
#include "lib/base/error.h"
#include "lib/jobs/quantization_config.h"

namespace lq {
namespace {

constexpr std::uint64_t kBlockValues = 64;
constexpr std::uint64_t kNestedBlock = 256;  ///< scales that share one of their own

const float* code_values(WeightNumber number) {
  return number == WeightNumber::bnb_nf4 ? kernels::Nf4Table::kValue : kernels::Fp4Table::kValue;
}

kernels::FourBitCode four_bit_code(const float* values) {
  kernels::FourBitCode code{};
  for (int i = 0; i < 16; ++i) code.code[i] = static_cast<std::uint8_t>(i);
  std::stable_sort(std::begin(code.code), std::end(code.code),
                   [&](std::uint8_t a, std::uint8_t b) { return values[a] < values[b]; });
  for (int i = 0; i < 15; ++i)
    code.threshold[i] = (values[code.code[i]] + values[code.code[i + 1]]) / 2;
  return code;
}

/// The 256 values that scales become with --double-quant: seven decades with 1, 2, 4 ... 64 values
/// of either sign, 0 and 1.
std::array<float, 256> make_dynamic_map() {
  std::vector<float> values = {0, 1};
  for (int i = 0; i < 7; ++i) {
    const int n_steps = 1 << i;
    const double tenth = 0.1f, step = (1.0f - 0.1f) / static_cast<float>(n_steps);
    const auto edge = [&](int k) {  // from the nearer end
      return static_cast<float>(k < (n_steps + 1) / 2 ? tenth + step * k
                                                      : 1 - step * (n_steps - k));
    };
    const auto power = static_cast<float>(std::pow(10.0, i - 6));
    for (int k = 0; k < n_steps; ++k) {
      const float mean = (edge(k) + edge(k + 1)) / 2;
      values.push_back(power * mean);
      values.push_back(-power * mean);
    }
  }
  std::sort(values.begin(), values.end());
  std::array<float, 256> map{};
  std::copy(values.begin(), values.end(), map.begin());
  return map;
}

const std::array<float, 256>& dynamic_map() {
  static const std::array<float, 256> kMap = make_dynamic_map();
  return kMap;
}

std::uint8_t nested_code(float x) {
  static const std::array<float, 255> kThresholds = [] {
    std::array<float, 255> thresholds{};
    for (std::size_t i = 0; i < thresholds.size(); ++i)
      thresholds[i] = (dynamic_map()[i + 1] + dynamic_map()[i]) / 2;
    return thresholds;
  }();
  const float value = kernels::nested_place(x);
  return static_cast<std::uint8_t>(std::lower_bound(kThresholds.begin(), kThresholds.end(), value) -
                                   kThresholds.begin());
}

/// As Python prints a float.
std::string shortest_decimal(double value) {
  char text[64];
  const auto result = std::to_chars(text, text + sizeof text, value);
  std::string decimal(text, result.ptr);
  return decimal.find_first_of(".en") == std::string::npos ? decimal + ".0" : decimal;
}

std::string quant_state(const WeightScheme& scheme, const Linear& linear) {
  const char* name = scheme.number == WeightNumber::bnb_nf4 ? "nf4" : "fp4";
  std::string text = std::string(R"({"quant_type": ")") + name +
                     R"(", "blocksize": 64, "dtype": ")" + torch_name(linear.type) +
                     R"(", "shape": [)" + std::to_string(linear.rows) + ", " +
                     std::to_string(linear.cols) + "]";
  if (scheme.nested)
    text += R"(, "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": )" +
            shortest_decimal(linear.mean_scale);
  return text + "}";
}

std::string state_name(const WeightScheme& scheme) {
  return std::string("weight.quant_state.bitsandbytes__") +
         (scheme.number == WeightNumber::bnb_nf4 ? "nf4" : "fp4");
}

}  // namespace

std::vector<LinearPart> bitsandbytes_parts(const WeightScheme& scheme, const Linear& linear) {
  if (scheme.number == WeightNumber::bnb_int8)
    return {LinearPart::of("weight", "I8", 1, {linear.rows, linear.cols}, kLinearChunk),
            LinearPart::of("SCB", "F32", 4, {linear.rows}, kLinearChunk),
            LinearPart::of("weight_format", "U8", 1, {})};
  const std::uint64_t n = linear.rows * linear.cols, n_blocks = n / kBlockValues;
  const std::uint64_t chunk = kLinearChunk * linear.cols;
  std::vector<LinearPart> parts = {
      LinearPart::of("weight", "U8", 1, {n / 2, 1}, chunk / 2),
      LinearPart::of("weight.absmax", scheme.nested ? "U8" : "F32", scheme.nested ? 1 : 4,
                     {n_blocks}, chunk / kBlockValues),
      LinearPart::of("weight.quant_map", "F32", 4, {16}),
      LinearPart::of(state_name(scheme), "U8", 1, {quant_state(scheme, linear).size()})};
  if (!scheme.nested) return parts;
  parts[1].made_bytes = n_blocks * sizeof(float);  // in full until all are known
  parts.push_back(LinearPart::of("weight.nested_absmax", "F32", 4,
                                 {(n_blocks + kNestedBlock - 1) / kNestedBlock}));
  parts.push_back(LinearPart::of("weight.nested_quant_map", "F32", 4, {256}));
  for (LinearPart& part : parts) part.chunk_bytes = 0;
  return parts;
}

void encode_four_bit(const WeightScheme& scheme, const Linear& linear,
                     const kernels::GroupKernels& kernels, std::uint64_t first,
                     std::span<const float> values, std::uint64_t origin, LinearBytes& parts) {
  const float* map = code_values(scheme.number);
  const std::uint64_t begin = (first - origin) * linear.cols;
  std::vector<float> scales(values.size() / kBlockValues);
  kernels.four_bit(values.data(), values.size(), four_bit_code(map), scales.data(),
                   reinterpret_cast<std::uint8_t*>(parts[0].data()) + begin / 2);
  std::memcpy(parts[1].data() + begin / kBlockValues * sizeof(float), scales.data(),
              scales.size() * sizeof(float));
  if (first != 0) return;
  std::memcpy(parts[2].data(), map, 16 * sizeof(float));
  const std::string state = quant_state(scheme, linear);
  LQ_ASSERT(state.size() == parts[3].size());
  std::memcpy(parts[3].data(), state.data(), state.size());
}

void finish_four_bit(const WeightScheme& scheme, const Linear& linear, LinearBytes& parts) {
  if (!scheme.nested) return;
  std::vector<float> scales(parts[1].size() / sizeof(float));
  std::memcpy(scales.data(), parts[1].data(), parts[1].size());
  parts[1].resize(scales.size());
  for (std::uint64_t at = 0; at < scales.size(); at += kNestedBlock) {
    const std::uint64_t end = std::min<std::uint64_t>(scales.size(), at + kNestedBlock);
    float largest = 0;
    for (std::uint64_t i = at; i < end; ++i)
      largest = std::max(largest, std::fabs(scales[i] - linear.mean_scale));
    std::memcpy(parts[4].data() + at / kNestedBlock * sizeof largest, &largest, sizeof largest);
    const float inverse = largest > 0 ? 1 / largest : 0;
    for (std::uint64_t i = at; i < end; ++i)
      parts[1][i] = static_cast<std::byte>(nested_code((scales[i] - linear.mean_scale) * inverse));
  }
  std::memcpy(parts[5].data(), dynamic_map().data(), sizeof dynamic_map());
}

void encode_eight_bit(const Linear& linear, const kernels::GroupKernels& kernels,
                      std::uint64_t first, std::span<const float> values, std::uint64_t origin,
                      LinearBytes& parts) {
  for (std::uint64_t r = 0; r < values.size() / linear.cols; ++r) {
    const std::uint64_t at = first - origin + r;
    const float largest =
        kernels.eight_bit(values.data() + r * linear.cols, static_cast<std::size_t>(linear.cols),
                          reinterpret_cast<std::int8_t*>(parts[0].data()) + at * linear.cols);
    if (!std::isfinite(largest))
      fail(ErrorKind::input, linear.module, ": row ", first + r,
           " has values beyond those of binary16, which INT8 is made from");
    std::memcpy(parts[1].data() + at * sizeof largest, &largest, sizeof largest);
  }
  if (first == 0) parts[2][0] = std::byte{0};
}

float mean_scale(std::span<const float> scales) {
  double sum = 0;
  for (const float one : scales) sum += one;
  return scales.empty() ? 0 : static_cast<float>(sum / static_cast<double>(scales.size()));
}

}  // namespace lq

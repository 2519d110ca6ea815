#include "lib/jobs/linear_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/groups/groups.h"
#include "lib/base/error.h"

namespace lq {
namespace {

using kernels::GroupKernels;
using kernels::Precision;

constexpr std::uint64_t kBlock = 128;

std::uint64_t up_to_multiple(std::uint64_t n, std::uint64_t of) { return (n + of - 1) / of; }

Precision precision_of(DType type) {
  return type == DType::F16   ? Precision::f16
         : type == DType::F32 ? Precision::f32
                              : Precision::bf16;
}

/// Writes a scale as the checkpoint's type has it; it was rounded to that before.
std::byte* store_scale(DType type, float scale, std::byte* out) {
  traits(type).encode(&scale, nullptr, out, 1);
  return out + traits(type).bytes;
}

/// A chunk of a matrix on its way.
struct Chunk {
  const WeightScheme& scheme;
  const Linear& linear;
  const GroupKernels& kernels;
  std::uint64_t first, n_rows;
  const float* values;  ///< [n_rows][cols]
  float largest;
  std::span<std::byte* const> out;

  std::size_t cols() const { return static_cast<std::size_t>(linear.cols); }
  const float* row(std::uint64_t r) const { return values + r * linear.cols; }
  std::size_t group() const {
    return scheme.scales == ScalesOf::group ? static_cast<std::size_t>(scheme.group_size) : cols();
  }
};

void encode_integers(const Chunk& c) {
  const std::size_t n_groups = c.cols() / c.group();
  const std::size_t n_words = kernels::packed_words(c.cols(), c.scheme.bits);
  std::vector<std::int8_t> codes(c.cols()), zeros(c.n_rows * n_groups);
  std::vector<float> scales(n_groups);
  std::vector<std::uint32_t> words(n_words);
  std::byte* weight = c.out[0];
  std::byte* scale = c.out[1];
  for (std::uint64_t r = 0; r < c.n_rows; ++r) {
    c.kernels.integers(c.row(r), c.cols(), c.group(), c.scheme.bits, c.scheme.symmetric,
                       scales.data(), zeros.data() + r * n_groups, codes.data());
    for (const float one : scales) scale = store_scale(c.linear.type, one, scale);
    if (!c.scheme.is_packed()) {
      std::memcpy(weight, codes.data(), codes.size());
      weight += codes.size();
      continue;
    }
    kernels::pack_codes(codes.data(), c.cols(), 1, c.scheme.bits, words.data());
    std::memcpy(weight, words.data(), n_words * sizeof(std::uint32_t));
    weight += n_words * sizeof(std::uint32_t);
  }
  if (!c.scheme.is_packed()) return;
  if (c.first == 0) {
    const std::int64_t shape[2] = {static_cast<std::int64_t>(c.linear.rows),
                                   static_cast<std::int64_t>(c.linear.cols)};
    std::memcpy(c.out[2], shape, sizeof shape);
  }
  if (c.scheme.symmetric) return;
  // Zero points are packed down the columns: [words][groups].
  const std::size_t n_down = kernels::packed_words(c.n_rows, c.scheme.bits);
  std::vector<std::uint32_t> column(n_down);
  for (std::size_t g = 0; g < n_groups; ++g) {
    kernels::pack_codes(zeros.data() + g, c.n_rows, n_groups, c.scheme.bits, column.data());
    for (std::size_t w = 0; w < n_down; ++w)
      std::memcpy(c.out[3] + (w * n_groups + g) * sizeof(std::uint32_t), &column[w],
                  sizeof(std::uint32_t));
  }
}

void encode_blocks(const Chunk& c) {
  auto* codes = reinterpret_cast<std::uint8_t*>(c.out[0]);
  std::byte* scale_out = c.out[1];
  for (std::size_t at = 0; at < c.cols(); at += kBlock) {
    const std::size_t n = std::min<std::size_t>(kBlock, c.cols() - at);
    float largest = 0;
    for (std::uint64_t r = 0; r < c.n_rows; ++r)
      largest = std::max(largest, c.kernels.largest_magnitude(c.row(r) + at, n));
    const bool inverse = c.scheme.format == "fp8";  // whose scales are F32, 1 for zeros
    const float scale = inverse && largest == 0 ? 1 : c.kernels.e4m3_scale(largest);
    scale_out = store_scale(inverse ? DType::F32 : c.linear.type, scale, scale_out);
    for (std::uint64_t r = 0; r < c.n_rows; ++r)
      c.kernels.e4m3(c.row(r) + at, n, scale, codes + r * c.linear.cols + at);
  }
}

void encode_e4m3(const Chunk& c) {
  if (c.scheme.scales == ScalesOf::block) return encode_blocks(c);
  const bool of_tensor = c.scheme.scales == ScalesOf::tensor;
  auto* codes = reinterpret_cast<std::uint8_t*>(c.out[0]);
  std::byte* scale_out = c.out[1];
  for (std::uint64_t r = 0; r < c.n_rows; ++r) {
    const float largest = of_tensor ? c.largest : c.kernels.largest_magnitude(c.row(r), c.cols());
    const float scale = c.kernels.e4m3_scale(largest);
    if (!of_tensor || (c.first == 0 && r == 0))
      scale_out = store_scale(c.linear.type, scale, scale_out);
    c.kernels.e4m3(c.row(r), c.cols(), scale, codes + r * c.linear.cols);
  }
}

void encode_micro_groups(const Chunk& c) {
  auto* codes = reinterpret_cast<std::uint8_t*>(c.out[0]);
  auto* scales = reinterpret_cast<std::uint8_t*>(c.out[1]);
  const float factor =
      c.scheme.number == WeightNumber::nvfp4 ? c.kernels.nvfp4_factor(c.largest) : 0;
  const std::size_t row_bytes = c.scheme.bits == 4 ? c.cols() / 2 : c.cols();
  for (std::uint64_t r = 0; r < c.n_rows; ++r) {
    switch (c.scheme.number) {
      case WeightNumber::nvfp4:
        c.kernels.nvfp4(c.row(r), c.cols(), factor, scales, codes);
        break;
      case WeightNumber::mxfp4:
        c.kernels.mxfp4(c.row(r), c.cols(), scales, codes);
        break;
      default:
        c.kernels.mxfp8(c.row(r), c.cols(), scales, codes);
        break;
    }
    codes += row_bytes;
    scales += c.cols() / c.group();
  }
  if (c.scheme.number == WeightNumber::nvfp4 && c.first == 0)
    std::memcpy(c.out[2], &factor, sizeof factor);
}

// Values of the 16 codes, from the QLoRA paper (arXiv:2305.14314) and from bitsandbytes.
constexpr float kNf4[16] = {-1,
                            -0.6961928009986877f,
                            -0.5250730514526367f,
                            -0.39491748809814453f,
                            -0.28444138169288635f,
                            -0.18477343022823334f,
                            -0.09105003625154495f,
                            0,
                            0.07958029955625534f,
                            0.16093020141124725f,
                            0.24611230194568634f,
                            0.33791524171829224f,
                            0.44070982933044434f,
                            0.5626170039176941f,
                            0.7229568362236023f,
                            1};
constexpr float kFp4[16] = {0,
                            0.0052083334885537624f,
                            0.6666666865348816f,
                            1,
                            0.3333333432674408f,
                            0.5f,
                            0.1666666716337204f,
                            0.25f,
                            0,
                            -0.0052083334885537624f,
                            -0.6666666865348816f,
                            -1,
                            -0.3333333432674408f,
                            -0.5f,
                            -0.1666666716337204f,
                            -0.25f};

const float* values_of(WeightNumber number) {
  return number == WeightNumber::bnb_nf4 ? kNf4 : kFp4;
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

std::string quant_state(WeightNumber number, const Linear& linear) {
  const char* name = number == WeightNumber::bnb_nf4 ? "nf4" : "fp4";
  return std::string(R"({"quant_type": ")") + name + R"(", "blocksize": 64, "dtype": ")" +
         torch_name(linear.type) + R"(", "shape": [)" + std::to_string(linear.rows) + ", " +
         std::to_string(linear.cols) + "]}";
}

void encode_four_bit(const Chunk& c) {
  const float* values = values_of(c.scheme.number);
  const std::size_t n = c.n_rows * c.linear.cols;
  std::vector<float> scales(n / 64);
  c.kernels.four_bit(c.values, n, four_bit_code(values), scales.data(),
                     reinterpret_cast<std::uint8_t*>(c.out[0]));
  std::memcpy(c.out[1], scales.data(), scales.size() * sizeof(float));
  if (c.first != 0) return;
  std::memcpy(c.out[2], values, 16 * sizeof(float));
  const std::string state = quant_state(c.scheme.number, c.linear);
  std::memcpy(c.out[3], state.data(), state.size());
}

void encode_eight_bit(const Chunk& c) {
  for (std::uint64_t r = 0; r < c.n_rows; ++r) {
    const float largest = c.kernels.eight_bit(
        c.row(r), c.cols(), reinterpret_cast<std::int8_t*>(c.out[0]) + r * c.linear.cols);
    if (!std::isfinite(largest))
      fail(ErrorKind::input, c.linear.module, ": row ", c.first + r,
           " has values beyond those of binary16, which INT8 is made from");
    std::memcpy(c.out[1] + r * sizeof largest, &largest, sizeof largest);
  }
  if (c.first == 0) *c.out[2] = std::byte{0};
}

/// The parts of a matrix, in the order in which encode() gets their memory.
struct PartList {
  const WeightScheme& scheme;
  const Linear& linear;
  std::vector<LinearPart> parts = {};

  /// `down` rows of the part are made of kLinearChunk rows of the matrix; 0: it comes at once.
  void add(const char* suffix, const char* storage, std::uint64_t value_bytes,
           std::vector<std::uint64_t> shape, std::uint64_t down) {
    std::uint64_t bytes = value_bytes;
    for (const std::uint64_t n : shape) bytes *= n;
    const std::uint64_t row_bytes = shape.empty() || shape[0] == 0 ? 0 : bytes / shape[0];
    parts.push_back({suffix, storage, std::move(shape), bytes, down * row_bytes});
  }
  std::uint64_t groups() const {
    return scheme.scales == ScalesOf::group
               ? linear.cols / static_cast<std::uint64_t>(scheme.group_size)
               : 1;
  }
  void add_scale() {
    const DTypeTraits& type = traits(linear.type);  // F32, F16 and BF16 are called alike here
    const std::vector<std::uint64_t> blocks = {up_to_multiple(linear.rows, kBlock),
                                               up_to_multiple(linear.cols, kBlock)};
    if (scheme.format == "fp8")
      add("weight_scale_inv", "F32", 4, blocks, 1);
    else if (scheme.scales == ScalesOf::block)
      add("weight_scale", type.name, type.bytes, blocks, 1);
    else if (scheme.scales == ScalesOf::tensor)
      add("weight_scale", type.name, type.bytes, {1}, 0);
    else
      add("weight_scale", type.name, type.bytes, {linear.rows, groups()}, kLinearChunk);
  }
  void add_integers() {
    const auto words = [&](std::uint64_t n) -> std::uint64_t {
      return kernels::packed_words(n, scheme.bits);
    };
    if (scheme.is_packed())
      add("weight_packed", "I32", 4, {linear.rows, words(linear.cols)}, kLinearChunk);
    else
      add("weight", "I8", 1, {linear.rows, linear.cols}, kLinearChunk);
    add_scale();
    if (scheme.is_packed()) add("weight_shape", "I64", 8, {2}, 0);
    if (!scheme.symmetric)
      add("weight_zero_point", "I32", 4, {words(linear.rows), groups()}, words(kLinearChunk));
  }
  void add_micro_groups(const char* codes, const char* storage, const char* scale_storage) {
    const auto per_byte = static_cast<std::uint64_t>(8 / scheme.bits);
    add(codes, storage, 1, {linear.rows, linear.cols / per_byte}, kLinearChunk);
    add("weight_scale", scale_storage, 1, {linear.rows, groups()}, kLinearChunk);
  }
  void add_four_bit() {
    const std::uint64_t n = linear.rows * linear.cols, chunk = kLinearChunk * linear.cols;
    add("weight", "U8", 1, {n / 2, 1}, chunk / 2);
    add("weight.absmax", "F32", 4, {n / 64}, chunk / 64);
    add("weight.quant_map", "F32", 4, {16}, 0);
    add(scheme.number == WeightNumber::bnb_nf4 ? "weight.quant_state.bitsandbytes__nf4"
                                               : "weight.quant_state.bitsandbytes__fp4",
        "U8", 1, {quant_state(scheme.number, linear).size()}, 0);
  }
};

}  // namespace

LinearPart::Extent LinearPart::extent(std::uint64_t first, std::uint64_t last,
                                      std::uint64_t rows) const {
  if (chunk_bytes == 0) return first == 0 ? Extent{0, bytes} : Extent{bytes, bytes};
  return {first / kLinearChunk * chunk_bytes,
          last == rows ? bytes : last / kLinearChunk * chunk_bytes};
}

std::string LinearEncoder::refuses(const Linear& linear) const {
  if (scheme_.scales != ScalesOf::group) return {};
  if (scheme_.format == "bitsandbytes")
    return linear.rows * linear.cols % 64 == 0
               ? ""
               : std::to_string(linear.rows * linear.cols) + " values are not whole blocks of 64";
  const auto group = static_cast<std::uint64_t>(scheme_.group_size);
  if (linear.cols % group == 0) return {};
  return "rows of " + std::to_string(linear.cols) + " values are not whole groups of " +
         std::to_string(group);
}

std::vector<LinearPart> LinearEncoder::parts(const Linear& linear) const {
  PartList list{.scheme = scheme_, .linear = linear};
  switch (scheme_.number) {
    case WeightNumber::integer:
      list.add_integers();
      break;
    case WeightNumber::e4m3:
      list.add("weight", "F8_E4M3", 1, {linear.rows, linear.cols}, kLinearChunk);
      list.add_scale();
      break;
    case WeightNumber::nvfp4:
      list.add_micro_groups("weight_packed", "U8", "F8_E4M3");
      list.add("weight_global_scale", "F32", 4, {1}, 0);
      break;
    case WeightNumber::mxfp4:
      list.add_micro_groups("weight_packed", "U8", "U8");
      break;
    case WeightNumber::mxfp8:
      list.add_micro_groups("weight", "F8_E4M3", "U8");
      break;
    case WeightNumber::bnb_nf4:
    case WeightNumber::bnb_fp4:
      list.add_four_bit();
      break;
    case WeightNumber::bnb_int8:
      list.add("weight", "I8", 1, {linear.rows, linear.cols}, kLinearChunk);
      list.add("SCB", "F32", 4, {linear.rows}, kLinearChunk);
      list.add("weight_format", "U8", 1, {}, 0);
      break;
  }
  return std::move(list.parts);
}

void LinearEncoder::encode(const Linear& linear, std::uint64_t first, std::span<const float> values,
                           float largest, std::span<std::byte* const> out) const {
  LQ_ASSERT(first % kLinearChunk == 0 && values.size() % linear.cols == 0);
  const Precision precision = scheme_.format == "fp8" ? Precision::f32 : precision_of(linear.type);
  const Chunk chunk{.scheme = scheme_,
                    .linear = linear,
                    .kernels = kernels_.groups[static_cast<int>(precision)],
                    .first = first,
                    .n_rows = values.size() / linear.cols,
                    .values = values.data(),
                    .largest = largest,
                    .out = out};
  switch (scheme_.number) {
    case WeightNumber::integer:
      return encode_integers(chunk);
    case WeightNumber::e4m3:
      return encode_e4m3(chunk);
    case WeightNumber::bnb_nf4:
    case WeightNumber::bnb_fp4:
      return encode_four_bit(chunk);
    case WeightNumber::bnb_int8:
      return encode_eight_bit(chunk);
    default:
      return encode_micro_groups(chunk);
  }
}

}  // namespace lq

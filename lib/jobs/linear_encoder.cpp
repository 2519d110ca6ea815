#include "lib/jobs/linear_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/base/error.h"
#include "lib/jobs/linear_bitsandbytes.h"
#include "lib/jobs/linear_layouts.h"

namespace lq {
namespace {

using kernels::GroupKernels;
using kernels::Precision;

constexpr std::uint64_t kBlock = 128;

std::uint64_t up_to_multiple(std::uint64_t n, std::uint64_t of) { return (n + of - 1) / of; }

/// What is computed in: packages round every step to the model's type and hold scales in it.
/// Where a layout holds them in another type, and for methods of our own, only scales are rounded.
Precision precision_of(const WeightScheme& scheme, const WeightMethod& method, DType type) {
  const DType scales = scheme.scales_for(type);
  if (scales == DType::F32) return Precision::f32;
  const bool as_package = scheme.layout == WeightLayout::compressed_tensors && !method.searches;
  if (as_package) return type == DType::F16 ? Precision::f16 : Precision::bf16;
  return scales == DType::F16 ? Precision::f32_f16 : Precision::f32_bf16;
}

kernels::IntegerGrid grid_of(const WeightScheme& scheme) {
  const int codes = 1 << scheme.bits;
  // ModelOpt's scale takes the largest magnitude to 7, the other packages' to 7.5.
  const bool modelopt = scheme.layout == WeightLayout::modelopt;
  return {.bits = scheme.bits,
          .symmetric = scheme.symmetric,
          .peak = static_cast<float>(modelopt ? codes - 2 : codes - 1) / 2};
}

/// Writes a scale as the checkpoint's type has it; it was rounded to that before.
std::byte* store_scale(DType type, float scale, std::byte* out) {
  traits(type).encode(&scale, nullptr, out, 1);
  return out + traits(type).bytes;
}

/// Rows of a matrix on their way.
struct Chunk {
  const WeightScheme& scheme;
  const Linear& linear;
  const GroupKernels& kernels;
  std::uint64_t first, origin;    ///< row of the matrix; row that the memory begins with
  std::span<const float> values;  ///< [n_rows][cols]
  LinearBytes& parts;

  std::size_t cols() const { return static_cast<std::size_t>(linear.cols); }
  std::uint64_t n_rows() const { return values.size() / linear.cols; }
  const float* row(std::uint64_t r) const { return values.data() + r * linear.cols; }
  std::size_t group() const { return group_of(scheme, linear); }
  bool is_e5m2() const { return scheme.number == WeightNumber::e5m2; }
  decltype(GroupKernels::e4m3) float8() const { return is_e5m2() ? kernels.e5m2 : kernels.e4m3; }
  float float8_scale(float largest) const {
    if (scheme.layout == WeightLayout::fp8 && largest == 0) return 1;
    return (is_e5m2() ? kernels.e5m2_scale : kernels.e4m3_scale)(largest);
  }
  /// Where the part's bytes for these rows begin, when each row makes `row_bytes` of them.
  std::uint8_t* rows_of(std::size_t part, std::uint64_t row_bytes) const {
    return reinterpret_cast<std::uint8_t*>(parts[part].data()) + (first - origin) * row_bytes;
  }
};

/// Row by row: blocks of 128 columns by themselves would go through memory in large steps.
void encode_blocks(const Chunk& c) {
  const std::uint64_t n_blocks = up_to_multiple(c.cols(), kBlock);
  const auto for_each_block = [&](const auto& body) {
    for (std::uint64_t r = 0; r < c.n_rows(); ++r)
      for (std::size_t b = 0; b < n_blocks; ++b)
        body(r, b, std::min<std::size_t>(kBlock, c.cols() - b * kBlock));
  };
  std::vector<float> scales(static_cast<std::size_t>(n_blocks));  // largest magnitudes at first
  for_each_block([&](std::uint64_t r, std::size_t b, std::size_t n) {
    scales[b] = std::max(scales[b], c.kernels.largest_magnitude(c.row(r) + b * kBlock, n));
  });
  const DType scale_type = c.scheme.scales_for(c.linear.type);
  std::byte* scale_out =
      c.parts[1].data() + (c.first - c.origin) / kBlock * n_blocks * traits(scale_type).bytes;
  for (float& scale : scales) {
    scale = c.float8_scale(scale);
    scale_out = store_scale(scale_type, scale, scale_out);
  }
  std::uint8_t* codes = c.rows_of(0, c.linear.cols);
  for_each_block([&](std::uint64_t r, std::size_t b, std::size_t n) {
    const std::size_t at = b * kBlock;
    c.float8()(c.row(r) + at, n, scales[b], codes + r * c.linear.cols + at);
  });
}

void encode_float8(const Chunk& c) {
  if (c.scheme.scales == ScalesOf::block) return encode_blocks(c);
  const bool of_tensor = c.scheme.scales == ScalesOf::tensor;
  const DType scale_type = c.scheme.scales_for(c.linear.type);
  std::uint8_t* codes = c.rows_of(0, c.linear.cols);
  std::byte* scale_out =
      c.parts[1].data() + (of_tensor ? 0 : (c.first - c.origin) * traits(scale_type).bytes);
  for (std::uint64_t r = 0; r < c.n_rows(); ++r) {
    const float largest =
        of_tensor ? c.linear.largest : c.kernels.largest_magnitude(c.row(r), c.cols());
    const float scale = c.float8_scale(largest);
    if (!of_tensor || (c.first == 0 && r == 0))
      scale_out = store_scale(scale_type, scale, scale_out);
    c.float8()(c.row(r), c.cols(), scale, codes + r * c.linear.cols);
  }
}

void encode_micro_groups(const Chunk& c) {
  const bool nvfp4 = c.scheme.number == WeightNumber::nvfp4;
  const float factor = nvfp4 ? c.kernels.nvfp4_factor(c.linear.largest) : 0;
  const std::size_t row_bytes = c.scheme.bits == 4 ? c.cols() / 2 : c.cols();
  const std::size_t n_groups = c.cols() / c.group();
  std::uint8_t* codes = c.rows_of(0, row_bytes);
  std::uint8_t* scales = c.rows_of(1, n_groups);
  for (std::uint64_t r = 0; r < c.n_rows(); ++r, codes += row_bytes, scales += n_groups) {
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
  }
  if (nvfp4 && c.first == 0) std::memcpy(c.parts[2].data(), &factor, sizeof factor);
}

/// Of one number: the fp8 layout has it without a dimension.
std::vector<std::uint64_t> scalar_shape(const WeightScheme& scheme) {
  if (scheme.layout == WeightLayout::fp8) return {};
  return {1};
}

std::vector<LinearPart> float8_parts(const WeightScheme& scheme, const Linear& linear) {
  const DTypeTraits& type = traits(scheme.scales_for(linear.type));
  const LinearPart weight =
      LinearPart::of("weight", scheme.number == WeightNumber::e5m2 ? "F8_E5M2" : "F8_E4M3", 1,
                     {linear.rows, linear.cols}, kLinearChunk);
  const bool blocks = scheme.scales == ScalesOf::block;
  const char* name =
      blocks && scheme.layout == WeightLayout::fp8 ? "weight_scale_inv" : "weight_scale";
  switch (scheme.scales) {
    case ScalesOf::tensor:
      return {weight, LinearPart::of(name, type.name, type.bytes, scalar_shape(scheme))};
    case ScalesOf::block:
      return {weight, LinearPart::of(name, type.name, type.bytes,
                                     {up_to_multiple(linear.rows, kBlock),
                                      up_to_multiple(linear.cols, kBlock)},
                                     kLinearChunk / kBlock)};
    default:
      return {weight, LinearPart::of(name, type.name, type.bytes, {linear.rows, 1}, kLinearChunk)};
  }
}

/// The scale of activations that was measured.
LinearPart input_part(const WeightScheme& scheme, const Linear& linear) {
  if (scheme.number == WeightNumber::nvfp4)
    return LinearPart::of("input_global_scale", "F32", 4, {1});
  const DTypeTraits& type = traits(scheme.scales_for(linear.type));
  return LinearPart::of("input_scale", type.name, type.bytes, scalar_shape(scheme));
}

float input_scale(const WeightScheme& scheme, const Linear& linear, const GroupKernels& kernels) {
  constexpr float kPeak = 127.5f;  // of integers of 8 bits
  switch (scheme.activations) {
    case ActivationScheme::fp4_group:
      return kernels.nvfp4_factor(linear.largest_input);
    case ActivationScheme::int8_token:
      return kernels.hold(linear.largest_input / kPeak);
    default:
      return kernels.e4m3_scale(linear.largest_input);
  }
}

std::vector<LinearPart> micro_group_parts(const WeightScheme& scheme, const Linear& linear) {
  const std::uint64_t n_groups = linear.cols / static_cast<std::uint64_t>(scheme.group_size);
  const char* scale = scheme.number == WeightNumber::nvfp4 ? "F8_E4M3" : "U8";
  std::vector<LinearPart> parts = {
      scheme.bits == 4
          ? LinearPart::of("weight_packed", "U8", 1, {linear.rows, linear.cols / 2}, kLinearChunk)
          : LinearPart::of("weight", "F8_E4M3", 1, {linear.rows, linear.cols}, kLinearChunk),
      LinearPart::of("weight_scale", scale, 1, {linear.rows, n_groups}, kLinearChunk)};
  if (scheme.number == WeightNumber::nvfp4)
    parts.push_back(LinearPart::of("weight_global_scale", "F32", 4, {1}));
  return parts;
}

std::vector<LinearPart> weight_parts(const WeightScheme& scheme, const Linear& linear) {
  switch (scheme.number) {
    case WeightNumber::integer:
      return integer_parts(scheme, linear);
    case WeightNumber::e4m3:
    case WeightNumber::e5m2:
      return float8_parts(scheme, linear);
    case WeightNumber::nvfp4:
    case WeightNumber::mxfp4:
    case WeightNumber::mxfp8:
      return micro_group_parts(scheme, linear);
    default:
      return bitsandbytes_parts(scheme, linear);
  }
}

}  // namespace

LinearPart LinearPart::of(std::string suffix, const char* storage, std::uint64_t value_bytes,
                          std::vector<std::uint64_t> shape, std::uint64_t per_chunk) {
  std::uint64_t bytes = value_bytes;
  for (const std::uint64_t n : shape) bytes *= n;
  const std::uint64_t chunk = per_chunk > 0 && shape[0] > 0 ? bytes / shape[0] * per_chunk : 0;
  return {std::move(suffix), storage, std::move(shape), bytes, bytes, chunk};
}

LinearPart::Range LinearPart::range_of(std::uint64_t first, std::uint64_t last,
                                       std::uint64_t rows) const {
  if (chunk_bytes == 0) return {0, first == 0 ? bytes : 0};
  const std::uint64_t begin = first / kLinearChunk * chunk_bytes;
  return {begin, (last == rows ? bytes : last / kLinearChunk * chunk_bytes) - begin};
}

LinearEncoder::LinearEncoder(const WeightScheme& scheme, const kernels::KernelTable& kernels)
    : scheme_(scheme), kernels_(kernels), method_(*find_weight_method(scheme.method)) {}

Measure LinearEncoder::measures() const {
  if (scheme_.nested) return Measure::mean_scale;
  const bool largest = scheme_.scales == ScalesOf::tensor || scheme_.number == WeightNumber::nvfp4;
  return largest ? Measure::largest : Measure::nothing;
}

bool LinearEncoder::by_chunks() const { return !scheme_.nested && !integers_by_columns(scheme_); }

std::uint64_t LinearEncoder::rows_together(const Linear& linear) const {
  if (scheme_.scales == ScalesOf::block) return kBlock;
  if (scheme_.layout == WeightLayout::bitsandbytes)  // blocks go on in the next row
    return linear.cols % 64 == 0 ? 1 : kLinearChunk;
  if (scheme_.number != WeightNumber::integer) return 1;
  // Zero points and the codes of some layouts are packed down the columns.
  const bool alone = scheme_.symmetric && !integers_by_columns(scheme_) &&
                     scheme_.layout != WeightLayout::modelopt;
  return alone ? 1 : 32;
}

std::string LinearEncoder::refuses(const Linear& linear) const {
  if (linear.rows == 0 || linear.cols == 0) return "it has no values";
  if (scheme_.number == WeightNumber::integer)
    if (std::string why = integers_refused(scheme_, linear); !why.empty()) return why;
  if (scheme_.scales != ScalesOf::group) return {};
  if (scheme_.layout == WeightLayout::bitsandbytes)
    return linear.rows * linear.cols % 64 == 0
               ? ""
               : std::to_string(linear.rows * linear.cols) + " values are not whole blocks of 64";
  const auto group = static_cast<std::uint64_t>(scheme_.group_size);
  if (linear.cols % group == 0) return {};
  return "rows of " + std::to_string(linear.cols) + " values are not whole groups of " +
         std::to_string(group);
}

std::vector<LinearPart> LinearEncoder::parts(const Linear& linear) const {
  std::vector<LinearPart> parts = weight_parts(scheme_, linear);
  if (scheme_.measures_inputs()) parts.push_back(input_part(scheme_, linear));
  return parts;
}

LinearBytes LinearEncoder::allocate(const Linear& linear) const {
  LinearBytes bytes;
  for (const LinearPart& part : parts(linear)) bytes.emplace_back(part.made_bytes);
  return bytes;
}

void LinearEncoder::encode_integers(const Linear& linear, std::uint64_t first,
                                    std::span<const float> values, std::uint64_t origin,
                                    LinearBytes& parts, EncoderMemory& memory) const {
  const auto cols = static_cast<std::size_t>(linear.cols);
  const MethodRows rows{
      .values = values,
      .cols = cols,
      .group = group_of(scheme_, linear),
      .grid = grid_of(scheme_),
      .kernels = kernels_.groups[static_cast<int>(precision_of(scheme_, method_, linear.type))]};
  IntegerRows &chosen = memory.chosen, &stored = memory.stored;
  chosen.resize(rows.n_rows(), rows.cols, rows.n_groups());
  stored.resize(rows.n_rows(), rows.cols, rows.n_groups());
  if (scheme_.symmetric) std::fill(chosen.zeros.begin(), chosen.zeros.end(), std::int8_t{0});
  method_.choose(rows, chosen);
  for (std::size_t i = 0; i < chosen.scales.size(); ++i)
    if (!std::isfinite(chosen.scales[i]))
      fail(ErrorKind::input, linear.module, ": row ", first + i / chosen.n_groups,
           " has values too large for scales of type ",
           traits(scheme_.scales_for(linear.type)).name,
           "; leave the matrix as it is (--ignore) or use another format");
  const IntegerPlace place{scheme_, linear, kernels_.groups[0], first, origin};
  store_integers(place, chosen, parts);
  load_integers(place, views_of(parts), stored);
  if (stored != chosen)
    fail(ErrorKind::check, linear.module, ": rows from ", first,
         " on do not unpack to what was packed; the memory may be faulty");
}

void LinearEncoder::encode(const Linear& linear, std::uint64_t first, std::span<const float> values,
                           std::uint64_t origin, LinearBytes& parts, EncoderMemory& memory) const {
  LQ_ASSERT(first % rows_together(linear) == 0 && values.size() % linear.cols == 0);
  const Precision precision = precision_of(scheme_, method_, linear.type);
  const GroupKernels& groups = kernels_.groups[static_cast<int>(precision)];
  if (first == 0 && scheme_.measures_inputs())
    store_scale(
        scheme_.number == WeightNumber::nvfp4 ? DType::F32 : scheme_.scales_for(linear.type),
        input_scale(scheme_, linear, groups), parts.back().data());
  if (scheme_.number == WeightNumber::integer)
    return encode_integers(linear, first, values, origin, parts, memory);
  const Chunk chunk{.scheme = scheme_,
                    .linear = linear,
                    .kernels = groups,
                    .first = first,
                    .origin = origin,
                    .values = values,
                    .parts = parts};
  if (scheme_.is_float8())
    encode_float8(chunk);
  else if (scheme_.number == WeightNumber::bnb_int8)
    encode_eight_bit(linear, groups, first, values, origin, parts);
  else if (scheme_.layout == WeightLayout::bitsandbytes)
    encode_four_bit(scheme_, linear, groups, first, values, origin, parts);
  else
    encode_micro_groups(chunk);
}

void LinearEncoder::finish(const Linear& linear, LinearBytes& parts) const {
  if (scheme_.nested) finish_four_bit(scheme_, linear, parts);
}

}  // namespace lq

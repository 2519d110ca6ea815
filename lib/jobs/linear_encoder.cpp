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
  std::uint64_t first;
  std::span<const float> values;  ///< [n_rows][cols]
  LinearBytes& parts;

  std::size_t cols() const { return static_cast<std::size_t>(linear.cols); }
  std::uint64_t n_rows() const { return values.size() / linear.cols; }
  const float* row(std::uint64_t r) const { return values.data() + r * linear.cols; }
  std::size_t group() const { return group_of(scheme, linear); }
  /// Where the part's bytes for these rows begin, when each row makes `row_bytes` of them.
  std::uint8_t* rows_of(std::size_t part, std::uint64_t row_bytes) const {
    return reinterpret_cast<std::uint8_t*>(parts[part].data()) + first * row_bytes;
  }
};

void encode_blocks(const Chunk& c) {
  std::uint8_t* codes = c.rows_of(0, c.linear.cols);
  const DType scale_type = c.scheme.scales_for(c.linear.type);
  std::byte* scale_out = c.parts[1].data() + c.first / kBlock * up_to_multiple(c.cols(), kBlock) *
                                                 traits(scale_type).bytes;
  for (std::size_t at = 0; at < c.cols(); at += kBlock) {
    const std::size_t n = std::min<std::size_t>(kBlock, c.cols() - at);
    float largest = 0;
    for (std::uint64_t r = 0; r < c.n_rows(); ++r)
      largest = std::max(largest, c.kernels.largest_magnitude(c.row(r) + at, n));
    const bool one = c.scheme.layout == WeightLayout::fp8 && largest == 0;
    const float scale = one ? 1 : c.kernels.e4m3_scale(largest);
    scale_out = store_scale(scale_type, scale, scale_out);
    for (std::uint64_t r = 0; r < c.n_rows(); ++r)
      c.kernels.e4m3(c.row(r) + at, n, scale, codes + r * c.linear.cols + at);
  }
}

void encode_e4m3(const Chunk& c) {
  if (c.scheme.scales == ScalesOf::block) return encode_blocks(c);
  const bool of_tensor = c.scheme.scales == ScalesOf::tensor;
  const DType scale_type = c.scheme.scales_for(c.linear.type);
  std::uint8_t* codes = c.rows_of(0, c.linear.cols);
  std::byte* scale_out = c.parts[1].data() + (of_tensor ? 0 : c.first * traits(scale_type).bytes);
  for (std::uint64_t r = 0; r < c.n_rows(); ++r) {
    const float largest =
        of_tensor ? c.linear.largest : c.kernels.largest_magnitude(c.row(r), c.cols());
    const float scale = c.kernels.e4m3_scale(largest);
    if (!of_tensor || (c.first == 0 && r == 0))
      scale_out = store_scale(scale_type, scale, scale_out);
    c.kernels.e4m3(c.row(r), c.cols(), scale, codes + r * c.linear.cols);
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

LinearPart float_part(const char* suffix, const char* storage, std::uint64_t value_bytes,
                      std::vector<std::uint64_t> shape) {
  for (const std::uint64_t n : shape) value_bytes *= n;
  return {suffix, storage, std::move(shape), value_bytes, value_bytes};
}

std::vector<LinearPart> e4m3_parts(const WeightScheme& scheme, const Linear& linear) {
  const DTypeTraits& type = traits(scheme.scales_for(linear.type));
  std::vector<std::uint64_t> shape = {linear.rows, 1};
  if (scheme.scales == ScalesOf::tensor) shape = {1};
  if (scheme.scales == ScalesOf::block)
    shape = {up_to_multiple(linear.rows, kBlock), up_to_multiple(linear.cols, kBlock)};
  const char* name = scheme.layout == WeightLayout::fp8 ? "weight_scale_inv" : "weight_scale";
  return {float_part("weight", "F8_E4M3", 1, {linear.rows, linear.cols}),
          float_part(name, type.name, type.bytes, std::move(shape))};
}

std::vector<LinearPart> micro_group_parts(const WeightScheme& scheme, const Linear& linear) {
  const std::uint64_t n_groups = linear.cols / static_cast<std::uint64_t>(scheme.group_size);
  const char* scale = scheme.number == WeightNumber::nvfp4 ? "F8_E4M3" : "U8";
  std::vector<LinearPart> parts = {
      scheme.bits == 4 ? float_part("weight_packed", "U8", 1, {linear.rows, linear.cols / 2})
                       : float_part("weight", "F8_E4M3", 1, {linear.rows, linear.cols}),
      float_part("weight_scale", scale, 1, {linear.rows, n_groups})};
  if (scheme.number == WeightNumber::nvfp4)
    parts.push_back(float_part("weight_global_scale", "F32", 4, {1}));
  return parts;
}

}  // namespace

LinearEncoder::LinearEncoder(const WeightScheme& scheme, const kernels::KernelTable& kernels)
    : scheme_(scheme), kernels_(kernels), method_(*find_weight_method(scheme.method)) {}

Measure LinearEncoder::measures() const {
  if (scheme_.nested) return Measure::mean_scale;
  const bool largest = scheme_.scales == ScalesOf::tensor || scheme_.number == WeightNumber::nvfp4;
  return largest ? Measure::largest : Measure::nothing;
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
  switch (scheme_.number) {
    case WeightNumber::integer:
      return integer_parts(scheme_, linear);
    case WeightNumber::e4m3:
      return e4m3_parts(scheme_, linear);
    case WeightNumber::nvfp4:
    case WeightNumber::mxfp4:
    case WeightNumber::mxfp8:
      return micro_group_parts(scheme_, linear);
    default:
      return bitsandbytes_parts(scheme_, linear);
  }
}

LinearBytes LinearEncoder::allocate(const Linear& linear) const {
  LinearBytes bytes;
  for (const LinearPart& part : parts(linear)) bytes.emplace_back(part.made_bytes);
  return bytes;
}

std::uint64_t LinearEncoder::encode_integers(const Linear& linear, std::uint64_t first,
                                             std::span<const float> values,
                                             LinearBytes& parts) const {
  const auto cols = static_cast<std::size_t>(linear.cols);
  const MethodRows rows{
      .values = values,
      .cols = cols,
      .group = group_of(scheme_, linear),
      .grid = grid_of(scheme_),
      .kernels = kernels_.groups[static_cast<int>(precision_of(scheme_, method_, linear.type))]};
  IntegerRows made(rows.n_rows(), rows.cols, rows.n_groups());
  method_.choose(rows, made);
  for (std::size_t i = 0; i < made.scales.size(); ++i)
    if (!std::isfinite(made.scales[i]))
      fail(ErrorKind::input, linear.module, ": row ", first + i / made.n_groups,
           " has values too large for scales of type ",
           traits(scheme_.scales_for(linear.type)).name,
           "; leave the matrix as it is (--ignore) or use another format");
  store_integers(scheme_, linear, first, made, parts);
  return digest_of(made);
}

std::uint64_t LinearEncoder::encode(const Linear& linear, std::uint64_t first,
                                    std::span<const float> values, LinearBytes& parts) const {
  LQ_ASSERT(first % kLinearChunk == 0 && values.size() % linear.cols == 0);
  if (scheme_.number == WeightNumber::integer) return encode_integers(linear, first, values, parts);
  const Precision precision = precision_of(scheme_, method_, linear.type);
  const GroupKernels& groups = kernels_.groups[static_cast<int>(precision)];
  const Chunk chunk{.scheme = scheme_,
                    .linear = linear,
                    .kernels = groups,
                    .first = first,
                    .values = values,
                    .parts = parts};
  if (scheme_.number == WeightNumber::e4m3)
    encode_e4m3(chunk);
  else if (scheme_.number == WeightNumber::bnb_int8)
    encode_eight_bit(linear, groups, first, values, parts);
  else if (scheme_.layout == WeightLayout::bitsandbytes)
    encode_four_bit(scheme_, linear, groups, first, values, parts);
  else
    encode_micro_groups(chunk);
  return 0;
}

void LinearEncoder::finish(const Linear& linear, LinearBytes& parts) const {
  if (scheme_.nested) finish_four_bit(scheme_, linear, parts);
}

}  // namespace lq

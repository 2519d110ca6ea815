#include "lib/jobs/linear_decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/groups/small_floats.h"
#include "lib/base/error.h"
#include "lib/jobs/linear_bitsandbytes.h"
#include "lib/jobs/linear_layouts.h"

namespace lq {
namespace {

using StoredParts = std::span<const std::span<const std::byte>>;

float stored_scale(DType type, std::span<const std::byte> from, std::uint64_t index) {
  float scale;
  traits(type).decode(from.data() + index * traits(type).bytes, &scale, 1);
  return scale;
}

void decode_integers(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                     StoredParts parts, std::span<float> into) {
  const auto cols = static_cast<std::size_t>(linear.cols);
  static const kernels::GroupKernels kNone{};
  IntegerRows rows({.values = into,
                    .cols = cols,
                    .group = scheme.scales == ScalesOf::group
                                 ? static_cast<std::size_t>(scheme.group_size)
                                 : cols,
                    .grid = {},
                    .kernels = kNone});
  load_integers(scheme, linear, first, parts, rows);
  for (std::size_t r = 0; r < rows.n_rows; ++r) rows.decode(r, into.data() + r * cols);
}

void decode_e4m3(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                 StoredParts parts, std::span<float> into) {
  const DType scale_type = scheme.scales_for(linear.type);
  const std::uint64_t blocks = (linear.cols + 127) / 128;
  for (std::uint64_t i = 0; i < into.size(); ++i) {
    const std::uint64_t row = first + i / linear.cols, col = i % linear.cols;
    std::uint64_t at = 0;  // of the tensor's only scale
    if (scheme.scales == ScalesOf::channel) at = row;
    if (scheme.scales == ScalesOf::block) at = row / 128 * blocks + col / 128;
    into[i] = kernels::e4m3_to_float(static_cast<std::uint8_t>(parts[0][first * linear.cols + i])) *
              stored_scale(scale_type, parts[1], at);
  }
}

/// The scale of a group of NVFP4, MXFP4 and MXFP8.
float micro_scale(const WeightScheme& scheme, StoredParts parts, std::uint64_t group) {
  const auto code = static_cast<std::uint8_t>(parts[1][group]);
  if (scheme.number != WeightNumber::nvfp4) return std::ldexp(1.0f, code - 127);
  return kernels::e4m3_to_float(code) / stored_scale(DType::F32, parts[2], 0);
}

void decode_micro_groups(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                         StoredParts parts, std::span<float> into) {
  const auto group = static_cast<std::uint64_t>(scheme.group_size);
  for (std::uint64_t i = 0; i < into.size(); ++i) {
    const std::uint64_t at = first * linear.cols + i;
    const auto byte = static_cast<std::uint8_t>(parts[0][scheme.bits == 4 ? at / 2 : at]);
    const float value = scheme.bits == 8
                            ? kernels::e4m3_to_float(byte)
                            : kernels::fp4_to_float(at % 2 == 0 ? byte & 15u : byte >> 4);
    into[i] = value * micro_scale(scheme, parts, at / group);
  }
}

void decode_eight_bit(const Linear& linear, std::uint64_t first, StoredParts parts,
                      std::span<float> into) {
  for (std::uint64_t i = 0; i < into.size(); ++i) {
    const auto code = static_cast<std::int8_t>(parts[0][first * linear.cols + i]);
    into[i] = static_cast<float>(code) *
              (stored_scale(DType::F32, parts[1], first + i / linear.cols) / 127);
  }
}

}  // namespace

void decode_linear(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                   StoredParts parts, std::span<float> into) {
  LQ_ASSERT(first % kLinearChunk == 0 && into.size() % linear.cols == 0);
  switch (scheme.number) {
    case WeightNumber::integer:
      return decode_integers(scheme, linear, first, parts, into);
    case WeightNumber::e4m3:
      return decode_e4m3(scheme, linear, first, parts, into);
    case WeightNumber::bnb_nf4:
    case WeightNumber::bnb_fp4:
      return decode_four_bit(scheme, linear, first * linear.cols, parts, into);
    case WeightNumber::bnb_int8:
      return decode_eight_bit(linear, first, parts, into);
    default:
      return decode_micro_groups(scheme, linear, first, parts, into);
  }
}

}  // namespace lq

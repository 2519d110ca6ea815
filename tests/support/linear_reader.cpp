#include "tests/support/linear_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/small_floats.h"
#include "lib/jobs/linear_layouts.h"

namespace lq::test {
namespace {

using StoredParts = std::span<const std::span<const std::byte>>;

template <class T>
T element(std::span<const std::byte> bytes, std::uint64_t index) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof value, sizeof value);
  return value;
}

float stored_scale(DType type, std::span<const std::byte> from, std::uint64_t index) {
  float scale;
  traits(type).decode(from.data() + index * traits(type).bytes, &scale, 1);
  return scale;
}

/// E5M2 is the upper half of binary16.
float float8_value(const WeightScheme& scheme, std::uint8_t code) {
  if (scheme.number == WeightNumber::e5m2)
    return kernels::half_to_float(static_cast<std::uint16_t>(code << 8));
  return kernels::e4m3_to_float(code);
}

void decode_float8(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                   StoredParts parts, std::span<float> into) {
  const DType scale_type = scheme.scales_for(linear.type);
  const std::uint64_t blocks = (linear.cols + 127) / 128;
  const auto* codes = reinterpret_cast<const std::uint8_t*>(parts[0].data()) + first * linear.cols;
  const std::uint64_t n_rows = into.size() / linear.cols;
  for (std::uint64_t r = 0; r < n_rows; ++r)
    for (std::uint64_t begin = 0; begin < linear.cols; begin += 128) {
      std::uint64_t at = 0;  // of the tensor's only scale
      if (scheme.scales == ScalesOf::channel) at = first + r;
      if (scheme.scales == ScalesOf::block) at = (first + r) / 128 * blocks + begin / 128;
      const float scale = stored_scale(scale_type, parts[1], at);
      const std::uint64_t end = std::min(linear.cols, begin + 128);
      for (std::uint64_t i = r * linear.cols + begin; i < r * linear.cols + end; ++i)
        into[i] = float8_value(scheme, codes[i]) * scale;
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
  const auto* codes = reinterpret_cast<const std::uint8_t*>(parts[0].data());
  for (std::uint64_t begin = 0; begin < into.size(); begin += group) {
    const std::uint64_t at = first * linear.cols + begin;
    const float scale = micro_scale(scheme, parts, at / group);
    for (std::uint64_t i = 0; i < group; ++i) {
      const std::uint8_t byte = codes[scheme.bits == 4 ? (at + i) / 2 : at + i];
      const float value = scheme.bits == 8
                              ? kernels::e4m3_to_float(byte)
                              : kernels::fp4_to_float(i % 2 == 0 ? byte & 15u : byte >> 4);
      into[begin + i] = value * scale;
    }
  }
}

void decode_eight_bit(const Linear& linear, std::uint64_t first, StoredParts parts,
                      std::span<float> into) {
  const auto* codes = reinterpret_cast<const std::int8_t*>(parts[0].data()) + first * linear.cols;
  for (std::uint64_t begin = 0; begin < into.size(); begin += linear.cols) {
    const float scale = stored_scale(DType::F32, parts[1], first + begin / linear.cols) / 127;
    for (std::uint64_t i = begin; i < begin + linear.cols; ++i)
      into[i] = static_cast<float>(codes[i]) * scale;
  }
}

void decode_four_bit(const WeightScheme& scheme, const Linear& linear, std::uint64_t first,
                     std::span<const std::span<const std::byte>> parts, std::span<float> into) {
  const auto scale_of = [&](std::uint64_t block) {
    if (!scheme.nested) return element<float>(parts[1], block);
    const auto code = static_cast<std::uint64_t>(parts[1][block]);
    return element<float>(parts[5], code) * element<float>(parts[4], block / 256) +
           linear.mean_scale;
  };
  float map[16];
  std::memcpy(map, parts[2].data(), sizeof map);
  float scale = 0;
  for (std::uint64_t i = 0; i < into.size(); ++i) {
    const std::uint64_t at = first + i;
    if (i == 0 || at % 64 == 0) scale = scale_of(at / 64);
    const auto both = static_cast<unsigned>(parts[0][at / 2]);
    into[i] = map[at % 2 == 0 ? both >> 4 : both & 15] * scale;
  }
}

}  // namespace

std::vector<float> values_of(const IntegerRows& rows) {
  std::vector<float> values(rows.codes.size());
  const std::size_t group = rows.cols / rows.n_groups;
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(rows.codes[i] - rows.zeros[i / group]) * rows.scales[i / group];
  return values;
}

std::vector<float> decoded(const WeightScheme& scheme, const Linear& linear,
                           const LinearBytes& bytes) {
  const std::vector<std::span<const std::byte>> parts(bytes.begin(), bytes.end());
  std::vector<float> values(linear.rows * linear.cols);
  if (scheme.number == WeightNumber::integer) {
    IntegerRows rows;
    rows.resize(linear.rows, linear.cols, linear.cols / group_of(scheme, linear));
    load_integers({scheme, linear, kernels::kernel_table("")->groups[0], 0, 0}, parts, rows);
    return values_of(rows);
  }
  if (scheme.is_float8())
    decode_float8(scheme, linear, 0, parts, values);
  else if (scheme.number == WeightNumber::bnb_int8)
    decode_eight_bit(linear, 0, parts, values);
  else if (scheme.layout == WeightLayout::bitsandbytes)
    decode_four_bit(scheme, linear, 0, parts, values);
  else
    decode_micro_groups(scheme, linear, 0, parts, values);
  return values;
}

}  // namespace lq::test

#pragma once
// What the AVX-512 instructions of panels do, in plain C++, under the names of their intrinsics:
// these stand nearer to the kernels, in their namespace. To be included before them.
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/panels/plain_tiles.h"

namespace lq::kernels {
namespace {

/// The lanes of a vector.
template <class Lane>
struct EmulatedLanes {
  static constexpr int kCount = 64 / sizeof(Lane);
  Lane lane[kCount];

  EmulatedLanes() = default;
  explicit EmulatedLanes(__m512i v) { memcpy(lane, &v, sizeof lane); }
  explicit EmulatedLanes(__m512 v) { memcpy(lane, &v, sizeof lane); }
  template <class Vector>
  Vector as() const {
    Vector v;
    memcpy(&v, lane, sizeof v);
    return v;
  }
};

/// value(i) for each lane i.
template <class Lane, class Value>
inline auto emulated_lanes(const Value& value) {
  EmulatedLanes<Lane> result;
  for (int i = 0; i < result.kCount; ++i) result.lane[i] = static_cast<Lane>(value(i));
  return result;
}
template <class Lane, class Value>
inline __m512i emulate(const Value& value) {
  return emulated_lanes<Lane>(value).template as<__m512i>();
}
template <class Value>
inline __m512 emulate_floats(const Value& value) {
  return emulated_lanes<float>(value).template as<__m512>();
}
/// Lanes of a shorter vector.
template <class Lane, class Vector>
inline Lane emulated_lane(const Vector& v, int i) {
  Lane lane;
  memcpy(&lane, reinterpret_cast<const char*>(&v) + static_cast<std::size_t>(i) * sizeof lane,
         sizeof lane);
  return lane;
}

using Words = EmulatedLanes<std::int32_t>;
using Halves = EmulatedLanes<std::int16_t>;
using EmulatedFloats = EmulatedLanes<float>;
using UnsignedWords = EmulatedLanes<std::uint32_t>;

inline __m512i _mm512_loadu_si512(const void* p) {
  __m512i v;
  memcpy(&v, p, sizeof v);
  return v;
}
inline __m512 _mm512_loadu_ps(const void* p) {
  __m512 v;
  memcpy(&v, p, sizeof v);
  return v;
}
inline void _mm512_storeu_si512(void* p, __m512i v) { memcpy(p, &v, sizeof v); }
inline void _mm512_storeu_ps(void* p, __m512 v) { memcpy(p, &v, sizeof v); }

inline __m512i _mm512_setzero_si512() {
  return emulate<std::int32_t>([](int) { return 0; });
}
inline __m512 _mm512_setzero_ps() {
  return emulate_floats([](int) { return 0.0f; });
}
inline __m512i _mm512_set1_epi8(char x) {
  return emulate<std::int8_t>([x](int) { return x; });
}
inline __m512i _mm512_set1_epi16(short x) {
  return emulate<std::int16_t>([x](int) { return x; });
}
inline __m512i _mm512_set1_epi32(int x) {
  return emulate<std::int32_t>([x](int) { return x; });
}
inline __m512 _mm512_set1_ps(float x) {
  return emulate_floats([x](int) { return x; });
}
inline __m512i _mm512_set4_epi32(int d, int c, int b, int a) {
  const int lane[] = {a, b, c, d};
  return emulate<std::int32_t>([&](int i) { return lane[i % 4]; });
}
/// The last is the first lane.
template <class... Lanes>
inline __m512i _mm512_set_epi32(Lanes... lanes) {
  const int lane[] = {lanes...};
  static_assert(sizeof lane == 64);
  return emulate<std::int32_t>([&](int i) { return lane[15 - i]; });
}

inline __m512i _mm512_and_si512(__m512i a, __m512i b) { return a & b; }
inline __m512i _mm512_andnot_si512(__m512i a, __m512i b) { return ~a & b; }
/// The second where the mask has a bit.
inline __m512i _mm512_mask_blend_epi8(__mmask64 mask, __m512i a, __m512i b) {
  const EmulatedLanes<std::uint8_t> x(a), y(b);
  return emulate<std::uint8_t>([&](int i) { return (mask >> i & 1) != 0 ? y.lane[i] : x.lane[i]; });
}
inline __m512i _mm512_or_si512(__m512i a, __m512i b) { return a | b; }
inline __m512 _mm512_xor_ps(__m512 a, __m512 b) {
  const UnsignedWords x(a), y(b);
  return emulated_lanes<std::uint32_t>([&](int i) { return x.lane[i] ^ y.lane[i]; })
      .template as<__m512>();
}
inline __m512i _mm512_srli_epi16(__m512i v, unsigned n) {
  const EmulatedLanes<std::uint16_t> x(v);
  return emulate<std::uint16_t>([&](int i) { return x.lane[i] >> n; });
}
inline __m512i _mm512_slli_epi16(__m512i v, unsigned n) {
  const EmulatedLanes<std::uint16_t> x(v);
  return emulate<std::uint16_t>([&](int i) { return x.lane[i] << n; });
}
inline __m512i _mm512_srli_epi32(__m512i v, unsigned n) {
  const UnsignedWords x(v);
  return emulate<std::uint32_t>([&](int i) { return x.lane[i] >> n; });
}
inline __m512i _mm512_slli_epi32(__m512i v, unsigned n) {
  const UnsignedWords x(v);
  return emulate<std::uint32_t>([&](int i) { return x.lane[i] << n; });
}

inline __m512i _mm512_srai_epi32(__m512i v, unsigned n) {
  const Words a(v);
  return emulate<std::int32_t>([&](int i) { return a.lane[i] >> n; });
}
inline __m512i _mm512_add_epi32(__m512i a, __m512i b) {
  const Words x(a), y(b);
  return emulate<std::int32_t>([&](int i) { return x.lane[i] + y.lane[i]; });
}
inline __m512i _mm512_sub_epi32(__m512i a, __m512i b) {
  const Words x(a), y(b);
  return emulate<std::int32_t>([&](int i) { return x.lane[i] - y.lane[i]; });
}
/// 0 where the mask has no bit.
inline __m512i _mm512_maskz_sub_epi32(__mmask16 mask, __m512i a, __m512i b) {
  const Words difference(_mm512_sub_epi32(a, b));
  return emulate<std::int32_t>(
      [&](int i) { return (mask >> i & 1) != 0 ? difference.lane[i] : 0; });
}
inline __m512i _mm512_sllv_epi32(__m512i v, __m512i counts) {
  const UnsignedWords x(v), n(counts);
  return emulate<std::uint32_t>([&](int i) { return n.lane[i] < 32 ? x.lane[i] << n.lane[i] : 0; });
}
inline __m512i _mm512_add_epi16(__m512i a, __m512i b) {
  const EmulatedLanes<std::uint16_t> x(a), y(b);
  return emulate<std::uint16_t>([&](int i) { return x.lane[i] + y.lane[i]; });
}
inline __m512i _mm512_mullo_epi16(__m512i a, __m512i b) {
  const EmulatedLanes<std::uint16_t> x(a), y(b);
  return emulate<std::uint16_t>([&](int i) { return unsigned{x.lane[i]} * y.lane[i]; });
}
inline __m512i _mm512_madd_epi16(__m512i a, __m512i b) {
  const Halves x(a), y(b);
  return emulate<std::int32_t>(
      [&](int i) { return x.lane[2 * i] * y.lane[2 * i] + x.lane[2 * i + 1] * y.lane[2 * i + 1]; });
}
/// Bytes of a have no sign, those of b have one.
inline __m512i _mm512_dpbusd_epi32(__m512i sum, __m512i a, __m512i b) {
  const EmulatedLanes<std::uint8_t> x(a);
  const EmulatedLanes<std::int8_t> y(b);
  const Words before(sum);
  return emulate<std::int32_t>([&](int i) {
    int result = before.lane[i];
    for (int j = 4 * i; j < 4 * i + 4; ++j) result += x.lane[j] * y.lane[j];
    return result;
  });
}

inline __m512i _mm512_dpwssd_epi32(__m512i sum, __m512i a, __m512i b) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
}

inline __m512i _mm512_cvtepu8_epi16(__m256i v) {
  return emulate<std::int16_t>([&](int i) { return emulated_lane<std::uint8_t>(v, i); });
}
inline __m512i _mm512_cvtepi8_epi32(__m128i v) {
  return emulate<std::int32_t>([&](int i) { return emulated_lane<std::int8_t>(v, i); });
}
inline __m512i _mm512_cvtepu8_epi32(__m128i v) {
  return emulate<std::int32_t>([&](int i) { return emulated_lane<std::uint8_t>(v, i); });
}
inline __m512 _mm512_cvtepi32_ps(__m512i v) {
  const Words x(v);
  return emulate_floats([&](int i) { return x.lane[i]; });
}
inline __m512 _mm512_cvtph_ps(__m256i v) {
  return emulate_floats([&](int i) { return half_to_float(emulated_lane<std::uint16_t>(v, i)); });
}

inline __m512 _mm512_castsi512_ps(__m512i v) { return Words(v).as<__m512>(); }
inline __m512i _mm512_castps_si512(__m512 v) { return EmulatedFloats(v).as<__m512i>(); }
/// Lanes with common bits.
inline __mmask16 _mm512_test_epi32_mask(__m512i a, __m512i b) {
  const UnsignedWords x(a), y(b);
  unsigned mask = 0;
  for (unsigned i = 0; i < 16; ++i)
    if ((x.lane[i] & y.lane[i]) != 0) mask |= 1u << i;
  return static_cast<__mmask16>(mask);
}
/// To the nearest, ties to even; INT32_MIN when the result does not fit, and for NaN.
inline __m512i _mm512_cvtps_epi32(__m512 v) {
  const EmulatedFloats x(v);
  return emulate<std::int32_t>([&](int i) {
    return fabsf(x.lane[i]) < 0x1p31f ? static_cast<std::int32_t>(nearbyintf(x.lane[i]))
                                      : INT32_MIN;
  });
}
/// The second where one is not a number.
inline __m512 _mm512_max_ps(__m512 a, __m512 b) {
  const EmulatedFloats x(a), y(b);
  return emulate_floats([&](int i) { return x.lane[i] > y.lane[i] ? x.lane[i] : y.lane[i]; });
}
inline __m512 _mm512_div_ps(__m512 a, __m512 b) { return a / b; }
inline __m512 _mm512_sub_ps(__m512 a, __m512 b) { return a - b; }
inline __m512 _mm512_mul_ps(__m512 a, __m512 b) { return a * b; }
inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  const EmulatedFloats x(a), y(b), z(c);
  return emulate_floats([&](int i) { return fmaf(x.lane[i], y.lane[i], z.lane[i]); });
}
inline __m512 _mm512_fnmadd_ps(__m512 a, __m512 b, __m512 c) {
  const EmulatedFloats x(a), y(b), z(c);
  return emulate_floats([&](int i) { return fmaf(-x.lane[i], y.lane[i], z.lane[i]); });
}

/// Within 16 bytes; 0 where bit 7 of the place is set.
inline __m512i _mm512_shuffle_epi8(__m512i v, __m512i places) {
  const EmulatedLanes<std::uint8_t> x(v), at(places);
  return emulate<std::uint8_t>(
      [&](int i) { return at.lane[i] & 0x80 ? 0 : x.lane[i / 16 * 16 + at.lane[i] % 16]; });
}
inline __m512i _mm512_permutexvar_epi16(__m512i places, __m512i v) {
  const EmulatedLanes<std::uint16_t> at(places), x(v);
  return emulate<std::uint16_t>([&](int i) { return x.lane[at.lane[i] % 32]; });
}
/// b, then a, as bfloat16.
inline __m512i _mm512_cvtne2ps_pbh(__m512 a, __m512 b) {
  const EmulatedFloats x(a), y(b);
  return emulate<std::uint16_t>(
      [&](int i) { return round_to_bfloat(i < 16 ? y.lane[i] : x.lane[i - 16]); });
}

}  // namespace
}  // namespace lq::kernels

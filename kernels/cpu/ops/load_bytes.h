#pragma once
// Numbers and bytes at any address.
#include <immintrin.h>

#include <cstddef>

namespace lq::kernels {
namespace {

template <class T>
inline T load_as(const std::byte* p) {
  T value;
  __builtin_memcpy(&value, p, sizeof value);
  return value;
}

inline __m128i load_16_bytes(const std::byte* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}

}  // namespace
}  // namespace lq::kernels

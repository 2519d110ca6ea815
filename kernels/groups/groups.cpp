#include "kernels/groups/groups.h"

#include <math.h>

namespace lq::kernels {

void pack_codes(const std::int8_t* codes, std::size_t n, std::size_t stride, int bits,
                std::uint32_t* words) noexcept {
  const int offset = 1 << (bits - 1);
  std::size_t begin = 0;
  if (bits == 4 && stride == 1)  // most weights
    for (; begin + 8 <= n; begin += 8) {
      std::uint32_t word = 0;
      for (std::size_t j = 0; j < 8; ++j)
        word |= static_cast<std::uint32_t>(codes[begin + j] + 8) << 4 * j;
      *words++ = word;
    }
  std::uint64_t pending = 0;
  int n_pending = 0;
  for (std::size_t i = begin; i < n; ++i) {
    pending |= static_cast<std::uint64_t>(static_cast<std::uint32_t>(codes[i * stride] + offset))
               << n_pending;
    n_pending += bits;
    if (n_pending < 32) continue;
    *words++ = static_cast<std::uint32_t>(pending);
    pending >>= 32;
    n_pending -= 32;
  }
  if (n_pending > 0) *words = static_cast<std::uint32_t>(pending);
}

void unpack_codes(const std::uint32_t* words, std::size_t n, std::size_t stride, int bits,
                  std::int8_t* codes) noexcept {
  const int offset = 1 << (bits - 1);
  std::size_t begin = 0;
  if (bits == 4 && stride == 1)
    for (; begin + 8 <= n; begin += 8) {
      const std::uint32_t word = *words++;
      for (std::size_t j = 0; j < 8; ++j)
        codes[begin + j] = static_cast<std::int8_t>(static_cast<int>(word >> 4 * j & 15) - 8);
    }
  std::uint64_t pending = 0;
  int n_pending = 0;
  for (std::size_t i = begin; i < n; ++i) {
    if (n_pending < bits) {
      pending |= static_cast<std::uint64_t>(*words++) << n_pending;
      n_pending += 32;
    }
    const auto code = static_cast<int>(pending & ((std::uint64_t{1} << bits) - 1));
    codes[i * stride] = static_cast<std::int8_t>(code - offset);
    pending >>= bits;
    n_pending -= bits;
  }
}

float nested_place(float x) noexcept {
  const float place = floorf((x + 1) * 0.5f * 65535.0f + 0.5f);
  return -1 + fminf(fmaxf(place, 0), 65535) * 2 / 65535.0f;
}

}  // namespace lq::kernels

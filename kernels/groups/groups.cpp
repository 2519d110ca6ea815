#include "kernels/groups/groups.h"

#include <math.h>

namespace lq::kernels {

void pack_codes(const std::int8_t* codes, std::size_t n, std::size_t stride, int bits,
                std::uint32_t* words) noexcept {
  const int offset = 1 << (bits - 1);
  std::uint64_t pending = 0;
  int n_pending = 0;
  for (std::size_t i = 0; i < n; ++i) {
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
  std::uint64_t pending = 0;
  int n_pending = 0;
  for (std::size_t i = 0; i < n; ++i) {
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

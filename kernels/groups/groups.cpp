#include "kernels/groups/groups.h"

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

}  // namespace lq::kernels

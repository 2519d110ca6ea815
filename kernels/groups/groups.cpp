#include "kernels/groups/groups.h"

#include <math.h>
#include <string.h>

namespace lq::kernels {

void pack_codes(const std::int8_t* codes, std::size_t n, std::size_t stride, int bits,
                void* words) noexcept {
  const int offset = 1 << (bits - 1);
  auto* out = static_cast<unsigned char*>(words);
  const auto put = [&out](std::uint32_t word) {
    memcpy(out, &word, sizeof word);
    out += sizeof word;
  };
  std::uint64_t pending = 0;
  int n_pending = 0;
  for (std::size_t i = 0; i < n; ++i) {
    pending |= static_cast<std::uint64_t>(static_cast<std::uint32_t>(codes[i * stride] + offset))
               << n_pending;
    n_pending += bits;
    if (n_pending < 32) continue;
    put(static_cast<std::uint32_t>(pending));
    pending >>= 32;
    n_pending -= 32;
  }
  if (n_pending > 0) put(static_cast<std::uint32_t>(pending));
}

void unpack_codes(const void* words, std::size_t n, std::size_t stride, int bits,
                  std::int8_t* codes) noexcept {
  const int offset = 1 << (bits - 1);
  auto* in = static_cast<const unsigned char*>(words);
  std::uint64_t pending = 0;
  int n_pending = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (n_pending < bits) {
      std::uint32_t word;
      memcpy(&word, in, sizeof word);
      in += sizeof word;
      pending |= static_cast<std::uint64_t>(word) << n_pending;
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

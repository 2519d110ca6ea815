#pragma once
// Q5_K: 256 5-bit codes in 8 groups, each with a 6-bit scale and minimum; 5.5 bits a value.
#include <cstdint>

#include "kernels/blocks/affine_groups.h"
#include "kernels/blocks/panel_form.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockQ5_K {
  static constexpr int kValues = 256;
  static constexpr PanelForm kPanel{
      .low_bits = 4, .high_bits = 1, .group = 32, .nested = true, .mins = true};
  AffineGroups groups;     ///< 8 groups of 32
  std::uint8_t high[32];   ///< bit j of high[l]: bit 4 of code l of group j
  std::uint8_t code[128];  ///< low 4 bits: [32 c + l]: codes 64 c + l (low nibble), 64 c + 32 + l
};
static_assert(sizeof(BlockQ5_K) == 176, "Q5_K is stored on disk: layout is fixed");

LQ_HD void decode(const BlockQ5_K& b, float* out) {
  const float scale = half_to_float(b.groups.scale), min = half_to_float(b.groups.min);
  for (int j = 0; j < AffineGroups::kGroups; ++j) {
    const float step = scale * static_cast<float>(group_scale(b.groups, j));
    const float low = min * static_cast<float>(group_min(b.groups, j));
    for (int l = 0; l < AffineGroups::kGroup; ++l) {
      const int code = nibble_of_group(b.code, j, l) | (((b.high[l] >> j) & 1) << 4);
      *out++ = step * static_cast<float>(code) - low;
    }
  }
}

LQ_HD void store_codes(const std::uint8_t* code, BlockQ5_K& b) {
  store_nibble_pairs(code, b.code);
  for (int l = 0; l < 32; ++l) {
    int bits = 0;
    for (int j = 0; j < 8; ++j) bits |= (code[32 * j + l] >> 4) << j;
    b.high[l] = static_cast<std::uint8_t>(bits);
  }
}

/// Candidates of the search without an importance matrix.
LQ_HD AffineCandidates q5_k_candidates() { return {-0.5f, 0.1f, 15}; }

LQ_HD void encode(const float* x, const Importance& hints, BlockQ5_K& b) {
  std::uint8_t code[BlockQ5_K::kValues];
  encode_groups<31>(x, hints, q5_k_candidates(), b.groups, code);
  store_codes(code, b);
}

LQ_HD void take_apart(const BlockQ5_K& b, NestedParts& out) {
  take_apart(b.groups, out);
  for (int c = 0; c < 4; ++c)
    for (int l = 0; l < 32; ++l) {
      const int low = b.code[32 * c + l], high = b.high[l] >> (2 * c);
      out.code[64 * c + l] = static_cast<std::uint8_t>((low & 15) | ((high & 1) << 4));
      out.code[64 * c + 32 + l] = static_cast<std::uint8_t>((low >> 4) | ((high & 2) << 3));
    }
}

LQ_HD bool valid(const BlockQ5_K& b) { return valid(b.groups); }

}  // namespace lq::kernels

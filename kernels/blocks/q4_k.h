#pragma once
// Q4_K: 256 4-bit codes in 8 groups, each with a 6-bit scale and minimum; 4.5 bits a value.
#include <cstdint>

#include "kernels/blocks/affine_groups.h"
#include "kernels/blocks/panel_form.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockQ4_K {
  static constexpr int kValues = 256;
  static constexpr PanelForm kPanel{.low_bits = 4, .group = 32, .nested = true, .mins = true};
  AffineGroups groups;     ///< 8 groups of 32
  std::uint8_t code[128];  ///< [32 c + l]: values 64 c + l (low nibble) and 64 c + 32 + l (high)
};
static_assert(sizeof(BlockQ4_K) == 144, "Q4_K is stored on disk: layout is fixed");

LQ_HD void decode(const BlockQ4_K& b, float* out) {
  const float scale = half_to_float(b.groups.scale), min = half_to_float(b.groups.min);
  for (int j = 0; j < AffineGroups::kGroups; ++j) {
    const float step = scale * static_cast<float>(group_scale(b.groups, j));
    const float low = min * static_cast<float>(group_min(b.groups, j));
    for (int l = 0; l < AffineGroups::kGroup; ++l)
      *out++ = step * static_cast<float>(nibble_of_group(b.code, j, l)) - low;
  }
}

LQ_HD void store_codes(const std::uint8_t* code, BlockQ4_K& b) { store_nibble_pairs(code, b.code); }

/// Candidates of the search without an importance matrix.
LQ_HD AffineCandidates q4_k_candidates() { return {-1.0f, 0.1f, 20}; }

LQ_HD void encode(const float* x, const Importance& hints, BlockQ4_K& b) {
  std::uint8_t code[BlockQ4_K::kValues];
  encode_groups<15>(x, hints, q4_k_candidates(), b.groups, code);
  store_codes(code, b);
}

LQ_HD void take_apart(const BlockQ4_K& b, NestedParts& out) {
  take_apart(b.groups, out);
  for (int c = 0; c < 4; ++c)
    for (int l = 0; l < 32; ++l) {
      out.code[64 * c + l] = b.code[32 * c + l] & 15;
      out.code[64 * c + 32 + l] = b.code[32 * c + l] >> 4;
    }
}

LQ_HD bool valid(const BlockQ4_K& b) { return valid(b.groups); }

}  // namespace lq::kernels

#pragma once
// Ways to multiply many tokens that no set has: those of sets are compared with them.
#include "kernels/panels/panels.h"

namespace lq::test {

extern const kernels::PanelProducts kPlainTiles, kPlainRequantized;
/// Plain tiles, weights expanded with AVX-512 and its BF16: only where the machine has both.
extern const kernels::PanelProducts kAvx512Expansion;
/// The same, and avx512_vnni's products of codes, with emulated AVX-512: only where the machine has
/// AVX2.
extern const kernels::PanelProducts kEmulatedExpansion, kEmulatedVnni, kEmulatedRequantized;

}  // namespace lq::test

#pragma once
// Ways to multiply many tokens that no set has: those of sets are compared with them.
#include "kernels/panels/panels.h"

namespace lq::test {

extern const kernels::PanelProducts kPlainTiles, kPlainRequantized;
/// Plain tiles, weights expanded with AVX-512 and its BF16: only where the machine has both.
extern const kernels::PanelProducts kAvx512Expansion;
/// The same with emulated AVX-512: only where the machine has AVX2.
extern const kernels::PanelProducts kEmulatedExpansion;

/// Products of codes as avx512_vnni and avx_vnni have them, with emulated VNNI: likewise.
extern const kernels::PanelProducts kEmulatedVnni512, kEmulatedRequantized512;
extern const kernels::PanelProducts kEmulatedVnni256, kEmulatedRequantized256;
/// Those of avx_vnni with instructions of AVX-512 VNNI: only where the machine has them.
extern const kernels::PanelProducts kEvexVnni, kEvexRequantized;

}  // namespace lq::test

#pragma once
// Ways to multiply many tokens that no set has: to be compared with those of sets.
#include "kernels/panels/panels.h"

namespace lq::test {

/// Plain tiles, weights expanded with AVX-512 and its BF16: only where the machine has both.
extern const kernels::PanelProducts kAvx512Expansion;

}  // namespace lq::test

#pragma once
// F16: IEEE binary16.
#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/half.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockF16 {
  static constexpr int kValues = 1;
  static constexpr FloatPanelForm kFloatPanel{.code = FloatCode::binary16};
  std::uint16_t value;
};
static_assert(sizeof(BlockF16) == 2, "F16 is stored on disk: layout is fixed");

LQ_HD void decode(const BlockF16& b, float* out) { *out = half_to_float(b.value); }
LQ_HD void encode(const float* x, const Importance&, BlockF16& b) { b.value = float_to_half(*x); }

LQ_HD bool valid(const BlockF16& b) { return half_is_finite(b.value); }

}  // namespace lq::kernels

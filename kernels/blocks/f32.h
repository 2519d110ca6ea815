#pragma once
// F32: values as they are.
#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/half.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockF32 {
  static constexpr int kValues = 1;
  static constexpr FloatPanelForm kFloatPanel{.code = FloatCode::binary32};
  float value;
};
static_assert(sizeof(BlockF32) == 4, "F32 is stored on disk: layout is fixed");

LQ_HD void decode(const BlockF32& b, float* out) { *out = b.value; }
LQ_HD void encode(const float* x, const Importance&, BlockF32& b) { b.value = *x; }

LQ_HD bool valid(const BlockF32& b) { return float_is_finite(b.value); }

}  // namespace lq::kernels

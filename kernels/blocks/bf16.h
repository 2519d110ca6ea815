#pragma once
// BF16: the upper half of binary32.
#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/half.h"

namespace lq::kernels {

struct [[gnu::packed]] BlockBF16 {
  static constexpr int kValues = 1;
  static constexpr FloatPanelForm kFloatPanel{.code = FloatCode::bfloat16};
  std::uint16_t value;
};
static_assert(sizeof(BlockBF16) == 2, "BF16 is stored on disk: layout is fixed");

LQ_HD void decode(const BlockBF16& b, float* out) { *out = bfloat_to_float(b.value); }
LQ_HD void encode(const float* x, const Importance&, BlockBF16& b) {
  b.value = float_to_bfloat(*x);
}

LQ_HD bool valid(const BlockBF16& b) { return bfloat_is_finite(b.value); }

}  // namespace lq::kernels

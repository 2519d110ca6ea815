#pragma once
// NF4 and FP4: 4-bit codes of bitsandbytes for the values of a table, under a scale for 64 values.
// In memory only: GGUF has no such types.
#include <cstdint>

#include "kernels/blocks/importance.h"
#include "kernels/blocks/panel_form.h"
#include "kernels/rounding.h"

namespace lq::kernels {

// Tables of their own for each object file, as functions are (hd.h).
namespace {

/// Quantiles of the normal distribution: QLoRA (arXiv:2305.14314), appendix E.
struct Nf4Table {
  static constexpr float kValue[16] = {-1,
                                       -0.6961928009986877f,
                                       -0.5250730514526367f,
                                       -0.39491748809814453f,
                                       -0.28444138169288635f,
                                       -0.18477343022823334f,
                                       -0.09105003625154495f,
                                       0,
                                       0.07958029955625534f,
                                       0.16093020141124725f,
                                       0.24611230194568634f,
                                       0.33791524171829224f,
                                       0.44070982933044434f,
                                       0.5626170039176941f,
                                       0.7229568362236023f,
                                       1};
};
/// Floats of 4 bits over 12, with a special case for the smallest: bitsandbytes.
struct Fp4Table {
  static constexpr float kValue[16] = {0,
                                       0.0052083334885537624f,
                                       0.6666666865348816f,
                                       1,
                                       0.3333333432674408f,
                                       0.5f,
                                       0.1666666716337204f,
                                       0.25f,
                                       0,
                                       -0.0052083334885537624f,
                                       -0.6666666865348816f,
                                       -1,
                                       -0.3333333432674408f,
                                       -0.5f,
                                       -0.1666666716337204f,
                                       -0.25f};
};

}  // namespace

template <class Table>
struct [[gnu::packed]] BlockOfTable {
  static constexpr int kValues = 64;
  static constexpr FloatPanelForm kFloatPanel{.code = FloatCode::table32, .group = 64};
  static constexpr float code_value(std::uint8_t code) { return Table::kValue[code]; }
  float scale;            ///< value[i] = Table::kValue[code[i]] * scale
  std::uint8_t code[32];  ///< code[j]: value 2 j in the high nibble, value 2 j + 1 in the low one
};
using BlockNF4 = BlockOfTable<Nf4Table>;
using BlockFP4 = BlockOfTable<Fp4Table>;

template <class Table>
LQ_HD void decode(const BlockOfTable<Table>& b, float* out) {
  for (int j = 0; j < 32; ++j) {
    out[2 * j] = Table::kValue[b.code[j] >> 4] * b.scale;
    out[2 * j + 1] = Table::kValue[b.code[j] & 15] * b.scale;
  }
}

/// The nearest value of the table, of equally near ones the first.
template <class Table>
LQ_HD int nearest_of_table(float x) {
  int best = 0;
  for (int i = 1; i < 16; ++i)
    if (fabsf(Table::kValue[i] - x) < fabsf(Table::kValue[best] - x)) best = i;
  return best;
}

/// Importance is unused: the scale is the largest magnitude.
template <class Table>
LQ_HD void encode(const float* x, const Importance&, BlockOfTable<Table>& b) {
  float peak = 0;
  for (int i = 0; i < 64; ++i) peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
  const float inverse = peak > 1e-38f ? 1 / peak : 0;
  b.scale = peak;
  for (int j = 0; j < 32; ++j)
    b.code[j] = static_cast<std::uint8_t>((nearest_of_table<Table>(x[2 * j] * inverse) << 4) |
                                          nearest_of_table<Table>(x[2 * j + 1] * inverse));
}

template <class Table>
LQ_HD void take_scales(const BlockOfTable<Table>& b, float* scale) {
  *scale = b.scale;
}
template <class Table>
LQ_HD void take_codes(const BlockOfTable<Table>& b, std::uint8_t* code) {
  for (int j = 0; j < 32; ++j) {
    code[2 * j] = b.code[j] >> 4;
    code[2 * j + 1] = b.code[j] & 15;
  }
}

template <class Table>
LQ_HD bool valid(const BlockOfTable<Table>& b) {
  return float_is_finite(b.scale);
}

}  // namespace lq::kernels

#pragma once
// Columns of panels of floats, for any instruction set: how many are made together.
//
// A set says what codes stand for, without the scales: load_columns<Block>(V, codes, half, v) makes
// v[kColumnsAtOnce][V::kParts] of the columns from that of `codes` on, which is a multiple of
// kColumnStep; the second ones of them where `half` is 1.
#include "kernels/panels/float_panels.h"

namespace lq::kernels {
namespace {

/// Columns that are made together.
template <class Block>
constexpr int kColumnsAtOnce = FloatLayout<Block>::kNibbles ? 4 : 1;
/// Columns whose codes lie together.
template <class Block>
constexpr int kColumnStep = FloatLayout<Block>::kNibbles ? 8 : 1;

/// How columns are made where each is used once. A set may have a faster way that gives values in
/// other units, for inputs times kStreamScale: sums are then in units of kUnit. Powers of two
/// change no bit of a sum, as long as inputs are below 2^48 and sums above 2^-86.
constexpr float kStreamScale = 0x1p80f;
template <class V, class Block>
struct FloatStream {
  static constexpr bool kIsScaled = false;
  static constexpr float kUnit = FloatLayout<Block>::kUnit;
  template <class Columns>
  static void load(const std::byte* codes, int half, Columns& v) {
    load_columns<Block>(V{}, codes, half, v);
  }
};

}  // namespace
}  // namespace lq::kernels

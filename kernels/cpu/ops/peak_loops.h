#pragma once
// Products and sums alone, from registers.
#include "kernels/cpu/kernel_table.h"

namespace lq::kernels {
namespace {

constexpr int kPeakChains = 12;  ///< sums in flight: more than a product takes to be ready

/// Makes the compiler take a value for unknown, and for used.
template <class Vector>
inline void hide(Vector& value) {
  __asm__ volatile("" : "+x"(value));
}

/// sum = step(sum, factor) for sums that do not depend on each other.
template <class Vector, class Step>
inline void run_chains(int rounds, Vector factor, const Step& step) {
  hide(factor);
  Vector sum[kPeakChains];
#pragma GCC unroll 12
  for (Vector& s : sum) {
    s = factor;
    hide(s);  // or all would be the same sum
  }
  for (int i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (Vector& s : sum) s = step(s, factor);
#pragma GCC unroll 12
  for (Vector& s : sum) hide(s);
}

}  // namespace
}  // namespace lq::kernels

#pragma once
// Results of a panel to where they belong.
#include "kernels/panels/panels.h"

namespace lq::kernels {
namespace {

/// The panel's rows of n_tokens results from token `first` on. Args: PanelMatmulArgs or
/// FloatMatmulArgs.
template <class Args>
inline void store_rows(const Args& a, int panel, int first, int n_tokens,
                       const float (*y)[kPanelRows]) {
  const int row = panel * kPanelRows;
  const int n_rows = a.rows - row < kPanelRows ? a.rows - row : kPanelRows;
  float* to = a.y + static_cast<std::size_t>(first) * a.y_stride + row;
  for (int t = 0; t < n_tokens; ++t, to += a.y_stride)
    if (n_rows == kPanelRows)  // a known size: no call
      __builtin_memcpy(to, y[t], sizeof y[t]);
    else
      __builtin_memcpy(to, y[t], static_cast<std::size_t>(n_rows) * sizeof(float));
}

/// What store_rows() stored, to y.
template <class Args>
inline void load_rows(const Args& a, int panel, int first, int n_tokens, float (*y)[kPanelRows]) {
  const int row = panel * kPanelRows;
  const int n_rows = a.rows - row < kPanelRows ? a.rows - row : kPanelRows;
  const float* from = a.y + static_cast<std::size_t>(first) * a.y_stride + row;
  for (int t = 0; t < n_tokens; ++t, from += a.y_stride)
    if (n_rows == kPanelRows)
      __builtin_memcpy(y[t], from, sizeof y[t]);
    else
      __builtin_memcpy(y[t], from, static_cast<std::size_t>(n_rows) * sizeof(float));
}

}  // namespace
}  // namespace lq::kernels

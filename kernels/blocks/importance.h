#pragma once
// What an encoder may know besides the values: how much each column matters.

namespace lq::kernels {

/// Weights of the columns of one block, cut from an importance matrix. Without one, `weight` is
/// null.
struct Importance {
  const float* weight = nullptr;  ///< one for each value of the block, or null: all the same
  float row_mean_square =
      0;  ///< mean of the squares over the whole row; set when weight is not null
};

}  // namespace lq::kernels

#pragma once
// A model with some of its layers left out.
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "lib/format/metadata.h"
#include "lib/format/tensor.h"

namespace lq {

/// Which layers stay, and their new numbers.
class PrunedLayers {
 public:
  /// `layers` are the numbers of those to be left out; none: all stay, nothing is renumbered.
  /// Throws Error(usage) for layers that the model does not have and when no layer would stay.
  PrunedLayers(std::span<const int> layers, std::span<const TensorInfo> tensors);

  /// A tensor's name with its layer's new number; empty when the layer is left out.
  std::string renamed(const std::string& name) const;
  /// Writes the new number of layers at the end of the metadata, and cuts the lists that have a
  /// value a layer.
  void apply(Metadata& metadata) const;

 private:
  std::map<int, int> numbers_;  ///< old to new, of those that stay; empty: nothing is left out
  int n_layers_ = 0;
};

}  // namespace lq

#pragma once
// Cosines and sines of rotary position embedding.
#include <vector>

#include "lib/backend/backend.h"

namespace lq {

/// Angles for consecutive positions; kept until other ones are asked for, because all layers of a
/// step share them. Frequencies, angles and results are rounded to binary32 where Transformers
/// rounds them, so that long positions agree with it.
class RopeTable {
 public:
  void prepare(const RopeArgs& args, int first_position, int n_positions);
  /// Rotates one head in place by the angles of position first_position + i.
  void rotate(int i, bool adjacent, float* head) const;

 private:
  bool holds(const RopeArgs& args, int first_position, int n_positions) const;

  RopeArgs args_;
  std::vector<float> divisors_;     ///< a copy: args_.frequency_divisors may be gone
  std::vector<float> frequencies_;  ///< [n_rot / 2], radians a position
  int first_position_ = 0, n_positions_ = 0;
  std::vector<float> cos_, sin_;  ///< [n_positions][n_rot / 2]
};

}  // namespace lq

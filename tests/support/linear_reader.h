#pragma once
// Reads matrices back, in every layout, from the stored bytes alone.
#include <cstddef>
#include <span>
#include <vector>

#include "lib/jobs/linear_encoder.h"

namespace lq::test {

/// The values of a matrix, [rows][cols]. `parts` are in the order of LinearEncoder::parts().
std::vector<float> decoded(const WeightScheme& scheme, const Linear& linear,
                           const LinearBytes& parts);

/// The values of integers as a method chose them.
std::vector<float> values_of(const IntegerRows& rows);

}  // namespace lq::test

#pragma once
// The checkpoints of golden/hf_layouts.json.zst as matrices: those in the test data, and those that
// are made by the generator's rule.
#include <map>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/jobs/linear_encoder.h"

namespace lq::test {

struct GoldenMatrix {
  Linear linear;
  std::vector<float> values;
};
/// By module; every tensor with a name that ends in "weight".
using GoldenModel = std::map<std::string, GoldenMatrix>;

/// `sources` says how the models that are not in the test data are made: name of each tensor, its
/// shape, deviation and mean.
GoldenModel golden_model(const std::string& name, const Json& sources);

/// Sets what the encoder of this scheme has to know of the whole matrix.
void measure_golden(const WeightScheme& scheme, const GoldenModel& all, Linear& linear);

/// The bytes of each part, made chunk by chunk.
LinearBytes encoded(const LinearEncoder& encoder, const GoldenMatrix& matrix);

}  // namespace lq::test

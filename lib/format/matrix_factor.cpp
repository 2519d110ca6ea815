#include "lib/format/matrix_factor.h"

#include <cmath>
#include <string>

#include "lib/base/error.h"
#include "lib/base/quote.h"

namespace lq {
namespace {

constexpr std::string_view kWeightEnding = ".weight", kFactorEnding = ".scale",
                           kInputFactorEnding = ".input_scale";

}  // namespace

bool is_matrix_factor(const TensorSource& source, std::string_view name) {
  for (const std::string_view ending : {kInputFactorEnding, kFactorEnding}) {
    if (!name.ends_with(ending)) continue;
    const auto matrix = source.find(std::string(name.substr(0, name.size() - ending.size())) +
                                    std::string(kWeightEnding));
    return matrix && source.tensors()[*matrix].shape.size() > 1;
  }
  return false;
}

float factor_of_matrix(const TensorSource& source, std::string_view name) {
  if (!name.ends_with(kWeightEnding)) return 1;
  name.remove_suffix(kWeightEnding.size());
  const auto index = source.find(std::string(name) + std::string(kFactorEnding));
  if (!index) return 1;
  const TensorInfo& info = source.tensors()[*index];
  float factor = 0;
  if (info.type != DType::F32 || info.elements() != 1)
    fail(ErrorKind::input, source.name(), ": tensor ", quote(info.name), " has type ",
         traits(info.type).name, " and shape ", shape_text(info.shape), "; expected F32 [1]");
  traits(info.type).decode(source.data(*index).data(), &factor, 1);
  if (!std::isfinite(factor))
    fail(ErrorKind::input, source.name(), ": tensor ", quote(info.name), " is ", factor,
         "; expected a finite number");
  return factor;
}

}  // namespace lq

#include "lib/base/build_info.h"

namespace lq {

const BuildInfo& build_info() {
  static constexpr BuildInfo kInfo = {LQ_VERSION, LQ_BUILD_TYPE, LQ_COMPILER, LQ_CUDA_VERSION};
  return kInfo;
}

}  // namespace lq

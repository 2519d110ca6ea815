// Stands in for the CUDA backend in builds without CUDA.
#include "lib/backend/backend.h"
#include "lib/base/error.h"

namespace lq {

std::unique_ptr<Backend> make_cuda_backend() {
  fail(ErrorKind::unsupported,
       "device cuda: this program was built without CUDA; use device cpu, or build with "
       "LQ_CUDA=ON where a CUDA toolkit is installed");
}

}  // namespace lq

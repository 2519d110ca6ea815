// Stands in for the CUDA backend in builds without CUDA.
#include "lib/backend/backend.h"
#include "lib/base/error.h"

namespace lq {

std::unique_ptr<Backend> make_cuda_backend() {
  fail(ErrorKind::unsupported, "device cuda: this program has no CUDA backend; use device cpu");
}

}  // namespace lq

#pragma once
// Memory of the CPU backend.
#include <cstddef>
#include <memory>

#include "lib/backend/backend.h"

namespace lq {

/// Zeroed memory at a multiple of 64, from 2 MB on in pages of that size where the system has them.
/// The system gives pages when they are first touched. Throws Error(resource).
std::unique_ptr<Buffer> make_host_buffer(std::size_t n_bytes);

}  // namespace lq

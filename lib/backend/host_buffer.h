#pragma once
// Memory of the CPU backend.
#include <cstddef>
#include <memory>

#include "lib/backend/backend.h"

namespace lq {

/// Large pages are for memory that is used as a whole: a first touch clears 2 MB.
enum class Pages { ordinary, large };

/// Zeroed memory at a multiple of 64. The system gives pages when they are first touched, large
/// ones where it has them. Throws Error(resource).
std::unique_ptr<Buffer> make_host_buffer(std::size_t n_bytes, Pages pages = Pages::ordinary);

}  // namespace lq

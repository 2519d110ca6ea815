#pragma once
// Features of the machine that compilers' own checks do not know. Asked by the conditions of
// isas.def, in code compiled for the baseline.

namespace lq::kernels {

bool has_avx512_bf16() noexcept;

/// AMX tiles of bfloat16, and leave from the operating system to use them: it sets up the tiles'
/// state of a thread only for processes that asked. This asks.
bool grants_tiles() noexcept;

}  // namespace lq::kernels

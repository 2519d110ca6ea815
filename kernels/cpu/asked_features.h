#pragma once
// Features of the machine that compilers' own checks do not know. Asked by the conditions of
// isas.def, in code compiled for the baseline.

namespace lq::kernels {

/// Products of 8-bit integers in registers of AVX2, which is to be asked for beside it.
bool has_avx_vnni() noexcept;

bool has_avx512_bf16() noexcept;

/// AMD's: a product of pairs takes as long as one of binary32. On Intel's it was measured to take
/// four times as long.
bool has_fast_avx512_bf16() noexcept;

/// AMX tiles of bfloat16, and leave from the operating system to use them: it sets up the tiles'
/// state of a thread only for processes that asked. This asks.
bool grants_tiles() noexcept;

/// Whether LQ_CPU_ISA names the set amx: until it has run on such a machine nobody gets it unasked.
bool asks_for_amx() noexcept;

}  // namespace lq::kernels

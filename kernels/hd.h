#pragma once
// LQ_HD marks small functions that the host and CUDA devices share. `static inline`: a copy for
// each object file, so that code compiled for one instruction set never leaks into another through
// the linker.
#ifdef __CUDACC__
#define LQ_HD __host__ __device__ static inline
#else
#define LQ_HD static inline
#endif

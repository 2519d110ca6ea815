#pragma once
// The encoders and decoders of the sets from AVX2 upwards.
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/ops/encode_affine_lanes.h"
#include "kernels/cpu/ops/encode_flat_avx2.h"
#include "kernels/cpu/ops/encode_grid_avx2.h"
#include "kernels/cpu/ops/encode_signed_lanes.h"
#include "kernels/cpu/ops/encode_small_lanes.h"

namespace lq::kernels {
namespace {

template <class Lanes, class Block, int kRange>
void encode_symmetric(const float* row, const float* importance, void* blocks,
                      std::size_t n_values) noexcept {
  if (importance)
    encode_signed_small<Lanes, Block, kRange>(row, importance, blocks, n_values);
  else
    encode_symmetric_avx2<Block, kRange>(row, blocks, n_values);
}

template <class Lanes, class Block, int kMax>
void encode_range(const float* row, const float* importance, void* blocks,
                  std::size_t n_values) noexcept {
  if (importance)
    encode_affine_small<Lanes, Block, kMax>(row, importance, blocks, n_values);
  else
    encode_range_avx2<Block, kMax>(row, blocks, n_values);
}

consteval void set_encoder(KernelTable& table, DType type, EncodeFn function) {
  table.encode[static_cast<int>(type)] = function;
}

/// Encoders that search with Lanes: each set with wider lanes has its own.
template <class Lanes>
consteval void set_searching_encoders(KernelTable& table) {
  set_encoder(table, DType::Q4_0, encode_symmetric<Lanes, BlockQ4_0, 8>);
  set_encoder(table, DType::Q5_0, encode_symmetric<Lanes, BlockQ5_0, 16>);
  set_encoder(table, DType::Q4_1, encode_range<Lanes, BlockQ4_1, 15>);
  set_encoder(table, DType::Q5_1, encode_range<Lanes, BlockQ5_1, 31>);
  set_encoder(table, DType::Q2_K, encode_affine_lanes<Lanes, BlockQ2_K>);
  set_encoder(table, DType::Q3_K, encode_q3_k_lanes<Lanes>);
  set_encoder(table, DType::Q4_K, encode_affine_lanes<Lanes, BlockQ4_K>);
  set_encoder(table, DType::Q5_K, encode_affine_lanes<Lanes, BlockQ5_K>);
  set_encoder(table, DType::Q6_K, encode_q6_k_lanes<Lanes>);
}

/// Every type's own functions compiled for AVX2, and what is written for it.
consteval void set_avx2_codecs(KernelTable& table) {
#define LQ_DTYPE(id, name, Block, gguf_id, max_rmse)             \
  table.encode[static_cast<int>(DType::id)] = encode_row<Block>; \
  table.decode[static_cast<int>(DType::id)] = decode_row<Block>;
#define LQ_STORAGE(id, name, gguf_id, values, bytes)
#include "kernels/blocks/dtypes.def"
#undef LQ_DTYPE
#undef LQ_STORAGE
  set_encoder(table, DType::Q8_0, encode_q8_0_avx2);
  set_encoder(table, DType::IQ3_S, encode_grid_avx2<BlockIQ3_S>);
  set_encoder(table, DType::IQ3_XXS, encode_grid_avx2<BlockIQ3_XXS>);
  set_encoder(table, DType::IQ2_S, encode_grid_avx2<BlockIQ2_S>);
  set_encoder(table, DType::IQ2_XS, encode_grid_avx2<BlockIQ2_XS>);
  set_encoder(table, DType::IQ2_XXS, encode_grid_avx2<BlockIQ2_XXS>);
  set_encoder(table, DType::IQ1_M, encode_grid_avx2<BlockIQ1_M>);
  set_encoder(table, DType::IQ1_S, encode_grid_avx2<BlockIQ1_S>);
  table.decode[static_cast<int>(DType::F16)] = decode_f16_avx2;
}

}  // namespace
}  // namespace lq::kernels

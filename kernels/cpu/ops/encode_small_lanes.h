#pragma once
// The types with 32 values a block, with an importance matrix: 16 blocks side by side.
#include "kernels/cpu/ops/encode_lanes.h"

namespace lq::kernels {
namespace {

/// 16 blocks of 32 values and their weights; what is missing at the end of a row is taken as zeros.
template <class Lanes>
struct SmallBatch {
  static constexpr int kGroup = 32, kStep = kLanes * kGroup;
  alignas(64) float row[kStep];  ///< as in the row
  alignas(64) float x[kStep], weight[kStep];

  void fill(const float* values, const float* importance, std::size_t n, float mean_square) {
    alignas(64) float padded[kStep] = {};
    memcpy(padded, importance, n * sizeof(float));
    memcpy(row, values, n * sizeof(float));
    for (std::size_t i = n; i < kStep; ++i) row[i] = 0;
    lay_in_lanes<kGroup>(row, x);
    weigh_by_importance<kGroup>(x, padded, Lanes::all(mean_square), weight);
  }
};

/// Calls encode_batch(batch, n_blocks, blocks, importance) for 16 blocks at a time.
template <class Lanes, class Block, class EncodeBatch>
void for_each_batch(const float* row, const float* importance, void* blocks, std::size_t n_values,
                    const EncodeBatch& encode_batch) {
  using Batch = SmallBatch<Lanes>;
  Batch batch;
  const float square = mean_square(row, n_values);
  for (std::size_t at = 0; at < n_values; at += Batch::kStep) {
    const std::size_t n = n_values - at < Batch::kStep ? n_values - at : Batch::kStep;
    batch.fill(row + at, importance + at, n, square);
    encode_batch(batch, static_cast<int>(n / Batch::kGroup),
                 static_cast<Block*>(blocks) + at / Batch::kGroup,
                 Importance{.weight = importance + at, .row_mean_square = square});
  }
}

/// Q4_0 (kRange 8), Q5_0 (16).
template <class Lanes, class Block, int kRange>
void encode_signed_small(const float* row, const float* importance, void* blocks,
                         std::size_t n_values) {
  const auto encode_batch = [](const SmallBatch<Lanes>& batch, int n_blocks, Block* block,
                               const Importance&) {
    const auto fits = search_signed_lanes<Lanes, kRange, 32>(batch.x, batch.weight);
    float scale[kLanes], inverse[kLanes];
    fits.scale.store(scale);
    fits.inverse.store(inverse);
    for (int b = 0; b < n_blocks; ++b, ++block) {
      std::uint8_t code[32] = {};
      for (int i = 0; i < 32; i += kLanes)
        if (inverse[b] != 0)
          store_codes(Lanes::load(batch.row + 32 * b + i) * Lanes::all(inverse[b]), -kRange,
                      kRange - 1, kRange, code + i);
      block->scale = float_to_half(scale[b]);
      store_codes(code, *block);
    }
  };
  for_each_batch<Lanes, Block>(row, importance, blocks, n_values, encode_batch);
}

/// Q4_1 (kMax 15), Q5_1 (31).
template <class Lanes, class Block, int kMax>
void encode_affine_small(const float* row, const float* importance, void* blocks,
                         std::size_t n_values) {
  const auto encode_batch = [](const SmallBatch<Lanes>& batch, int n_blocks, Block* block,
                               const Importance& hints) {
    const auto fits =
        search_affine_lanes<Lanes, kMax, false, 32>(batch.x, batch.weight, importance_candidates());
    float scale[kLanes], min[kLanes], inverse[kLanes], start[kLanes];
    fits.scale.store(scale);
    fits.min.store(min);
    fits.inverse.store(inverse);
    fits.start.store(start);
    for (int b = 0; b < n_blocks; ++b, ++block) {
      if ((fits.odd >> b & 1u) != 0) {
        encode(batch.row + 32 * b, {hints.weight + 32 * b, hints.row_mean_square}, *block);
        continue;
      }
      std::uint8_t code[32];
      for (int i = 0; i < 32; i += kLanes)
        store_codes(
            Lanes::all(inverse[b]) * (Lanes::load(batch.row + 32 * b + i) - Lanes::all(start[b])),
            0, kMax, 0, code + i);
      block->scale = float_to_half(scale[b]);
      block->low = float_to_half(-min[b]);
      store_codes(code, *block);
    }
  };
  for_each_batch<Lanes, Block>(row, importance, blocks, n_values, encode_batch);
}

}  // namespace
}  // namespace lq::kernels

#pragma once
// Q3_K and Q6_K: 16 groups of 16 values under signed scales.
#include "kernels/cpu/ops/encode_lanes.h"

namespace lq::kernels {
namespace {

/// Codes of a block's groups under the stored steps; where a step is 0 the search's codes stay.
template <class Lanes, int kRange>
void signed_block_codes(const float* x, const float* step, const float* inverse,
                        std::uint8_t* code) {
  for (int j = 0; j < 16; ++j, x += 16, code += 16) {
    if (step[j] != 0)
      store_codes(Lanes::load(x) / Lanes::all(step[j]), -kRange, kRange - 1, kRange, code);
    else if (inverse[j] != 0)
      store_codes(Lanes::load(x) * Lanes::all(inverse[j]), -kRange, kRange - 1, kRange, code);
    else
      memset(code, 0, 16);
  }
}

template <class Lanes>
void encode_q6_k_lanes(const float* row, const float* importance, void* blocks,
                       std::size_t n_values) noexcept {
  constexpr int kGroup = 16;
  auto* block = static_cast<BlockQ6_K*>(blocks);
  alignas(64) float x[256], weight[256];
  float scales[kLanes], inverse[kLanes], step[kLanes];
  std::uint8_t code[256];
  for (std::size_t at = 0; at < n_values; at += 256, ++block) {
    lay_in_lanes<kGroup>(row + at, x);
    if (importance) {
      lay_in_lanes<kGroup>(importance + at, weight);
    } else {
      for (int i = 0; i < 256; ++i) weight[i] = x[i] * x[i];
    }
    const auto fits = search_signed_lanes<Lanes, 32, kGroup>(x, weight);
    fits.scale.store(scales);
    fits.inverse.store(inverse);
    if (!store_group_scales(scales, *block)) continue;
    for (int j = 0; j < kLanes; ++j)
      step[j] = half_to_float(block->scale) * static_cast<float>(block->group_scale[j]);
    signed_block_codes<Lanes, 32>(row + at, step, inverse, code);
    store_codes(code, *block);
  }
}

/// Up to 8 blocks of Q3_K: the choice of their scales, when there is importance, runs in lanes,
/// too.
template <class Lanes>
class Q3KBatch {
  static constexpr int kBlocks = 8, kGroup = 16;

 public:
  /// importance may be null.
  void encode(const float* x, const float* importance, int n_blocks, BlockQ3_K* blocks) {
    odd_ = 0;
    if (importance) {
      fit_by_importance(x, importance, n_blocks, blocks);
    } else {
      for (int b = 0; b < n_blocks; b += 2) fit_pair(x, b, n_blocks, blocks);
    }
    encode_odd_blocks(odd_, x, importance, blocks);
  }

 private:
  static void steps_of(const BlockQ3_K& block, float* step) {
    for (int j = 0; j < kLanes; ++j)
      step[j] = half_to_float(block.scale) * static_cast<float>(group_scale(block, j) - 32);
  }

  /// Blocks b and b + 1, if there is one.
  void fit_pair(const float* x, int b, int n_blocks, BlockQ3_K* blocks) {
    const int n = n_blocks - b < 2 ? 1 : 2;
    for (int s = 0; s < 2; ++s) lay_in_lanes<kGroup>(x + (b + (s < n ? s : 0)) * 256, greedy_.x[s]);
    greedy_.search();
    for (int s = 0; s < n; ++s) {
      for (int j = 0; j < kLanes; ++j)
        if ((greedy_.tiny[s] >> j & 1u) != 0) greedy_.scale[s][j] = 0;
      quantize_group_scales(greedy_.scale[s], blocks[b + s]);
      make_greedy_codes(x + (b + s) * 256, s, blocks[b + s]);
      if (greedy_.odd[s] != 0) odd_ |= 1u << (b + s);
    }
  }

  void make_greedy_codes(const float* x, int s, BlockQ3_K& block) {
    float step[kLanes];
    std::uint8_t code[256];
    steps_of(block, step);
    for (int j = 0; j < kLanes; ++j) {
      std::uint8_t* out = code + j * kGroup;
      if (step[j] != 0) {
        divided_codes<Lanes, kGroup>(x + j * kGroup, 0, step[j], -4, 3, out);
        continue;
      }
      const bool tiny = (greedy_.tiny[s] >> j & 1u) != 0;  // the codes of the search stay
      for (int i = 0; i < kGroup; ++i)
        out[i] = tiny ? 0 : static_cast<std::uint8_t>(greedy_.level[s][i * kLanes + j] + 4);
    }
    store_codes(code, block);
  }

  void fit_by_importance(const float* x, const float* importance, int n_blocks, BlockQ3_K* blocks) {
    alignas(64) float values[256], weight[256];
    squares_of_blocks(x, n_blocks, square_);
    for (int b = 0; b < n_blocks; ++b) {
      lay_in_lanes<kGroup>(x + b * 256, values);
      weigh_by_importance<kGroup>(values, importance + b * 256, Lanes::all(2 * square_[b] / 256),
                                  weight);
      sum_lanes<kGroup, Lanes>(weight).store(total_[b]);
      const auto fits = search_signed_lanes<Lanes, 4, kGroup>(values, weight);
      fits.scale.store(scale_[b]);
      fits.inverse.store(inverse_[b]);
    }
    choose_scales(n_blocks);
    for (int b = 0; b < n_blocks; ++b) {
      float step[kLanes];
      std::uint8_t code[256];
      blocks[b].scale = float_to_half(unit_[b]);
      store_group_scales(scale_code_[b], blocks[b]);
      steps_of(blocks[b], step);
      signed_block_codes<Lanes, 4>(x + b * 256, step, inverse_[b], code);
      store_codes(code, blocks[b]);
    }
  }

  /// Lane b: the scales of block b; the other half is not used.
  void choose_scales(int n_blocks) {
    alignas(64) float x[kGroup * kLanes] = {}, weight[kGroup * kLanes] = {};
    for (int i = 0; i < kGroup; i += 8) {
      transpose_8(scale_[0] + i, kLanes, x + i * kLanes, kLanes);
      transpose_8(total_[0] + i, kLanes, weight + i * kLanes, kLanes);
    }
    const auto units = search_signed_lanes<Lanes, 32, kGroup>(x, weight);
    float inverse[kLanes];
    units.scale.store(unit_);
    units.inverse.store(inverse);
    for (int b = 0; b < n_blocks; ++b) {
      for (int j = 0; j < kGroup; ++j)
        if (!float_is_finite(scale_[b][j])) odd_ |= 1u << b;
      if (inverse[b] != 0)
        store_codes(Lanes::load(scale_[b]) * Lanes::all(inverse[b]), -32, 31, 32, scale_code_[b]);
      else
        memset(scale_code_[b], 0, kGroup);
    }
  }

  GreedyLanes<Lanes, 4, kGroup, 2> greedy_;
  unsigned odd_;  ///< bits of blocks
  float square_[kBlocks], unit_[kLanes];
  float scale_[kBlocks][kLanes] = {}, total_[kBlocks][kLanes] = {}, inverse_[kBlocks][kLanes];
  std::uint8_t scale_code_[kBlocks][kGroup];
};

template <class Lanes>
void encode_q3_k_lanes(const float* row, const float* importance, void* blocks,
                       std::size_t n_values) noexcept {
  Q3KBatch<Lanes> batch;
  for (std::size_t at = 0; at < n_values; at += 8 * 256) {
    const std::size_t n = n_values - at < 8 * 256 ? n_values - at : 8 * 256;
    batch.encode(row + at, importance ? importance + at : nullptr, static_cast<int>(n / 256),
                 static_cast<BlockQ3_K*>(blocks) + at / 256);
  }
}

}  // namespace
}  // namespace lq::kernels

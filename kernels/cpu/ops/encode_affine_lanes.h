#pragma once
// Q2_K, Q4_K, Q5_K: 8 blocks at a time, because the choice of their scales runs in lanes, too: one
// for the scales and one for the minimums of each block.
#include "kernels/cpu/ops/encode_lanes.h"

namespace lq::kernels {
namespace {

/// How the types differ.
template <class Block>
struct AffineRules;

template <>
struct AffineRules<BlockQ2_K> {
  static constexpr int kGroup = 16, kMax = 3, kScaleMax = 15, kSquareFactor = 1;
  static constexpr bool kAbsolute = true;
  static AffineCandidates candidates() { return q2_k_candidates(); }
  static float quantize_scales(const float* x, std::uint8_t* code) {
    return quantize_to_nibbles(x, code);
  }
  static void store_scales(float scale, float min, std::uint8_t* scale_code, std::uint8_t* min_code,
                           BlockQ2_K& b) {
    b.scale = float_to_half(scale);
    b.min = float_to_half(min);
    store_groups(scale_code, min_code, b);
  }
  static float step(const BlockQ2_K& b, int j) {
    return half_to_float(b.scale) * static_cast<float>(b.scale_min[j] & 15);
  }
  static float low(const BlockQ2_K& b, int j) {
    return half_to_float(b.min) * static_cast<float>(b.scale_min[j] >> 4);
  }
};

template <class Block, int kLargest>
struct RulesOf32 {
  static constexpr int kGroup = 32, kMax = kLargest, kScaleMax = 63, kSquareFactor = 2;
  static constexpr bool kAbsolute = false;
  static float quantize_scales(const float* x, std::uint8_t* code) {
    return quantize_to_6_bits(x, code);
  }
  static void store_scales(float scale, float min, std::uint8_t* scale_code, std::uint8_t* min_code,
                           Block& b) {
    b.groups.scale = float_to_half(scale);
    b.groups.min = float_to_half(min);
    store_groups<kLargest>(scale_code, min_code, b.groups);
  }
  static float step(const Block& b, int j) {
    return half_to_float(b.groups.scale) * static_cast<float>(group_scale(b.groups, j));
  }
  static float low(const Block& b, int j) {
    return half_to_float(b.groups.min) * static_cast<float>(group_min(b.groups, j));
  }
};
template <>
struct AffineRules<BlockQ4_K> : RulesOf32<BlockQ4_K, 15> {
  static AffineCandidates candidates() { return q4_k_candidates(); }
};
template <>
struct AffineRules<BlockQ5_K> : RulesOf32<BlockQ5_K, 31> {
  static AffineCandidates candidates() { return q5_k_candidates(); }
};

template <class Lanes, class Block>
class AffineBatch {
  using Rules = AffineRules<Block>;
  static constexpr int kBlocks = 8;
  static constexpr int kGroup = Rules::kGroup, kGroups = 256 / kGroup;
  static constexpr int kStep = kLanes * kGroup;  ///< values that one search takes

 public:
  /// At most kBlocks; importance may be null.
  void encode(const float* x, const float* importance, int n_blocks, Block* blocks) {
    x_ = x;
    importance_ = importance;
    n_ = n_blocks;
    odd_ = 0;
    if (importance) squares_of_blocks(x, n_blocks, square_);
    for (int first = 0; first < n_ * 256; first += kStep) fit_step(first);
    if (importance) choose_scales();
    for (int b = 0; b < n_; ++b) {
      if (importance)
        Rules::store_scales(unit_[b], unit_[8 + b], scale_code_[b], scale_code_[8 + b], blocks[b]);
      else
        store_plain_scales(b, blocks[b]);
      make_codes(b, blocks[b]);
    }
    encode_odd_blocks(odd_, x_, importance_, blocks);
  }

 private:
  /// Fits the 16 groups from value `first` on; what is missing at the end is taken as zeros.
  void fit_step(int first) {
    const int n = n_ * 256 - first;
    if (n >= kStep) {
      fit(first / kGroup, x_ + first, importance_ ? importance_ + first : nullptr);
      return;
    }
    alignas(64) float x[kStep] = {}, importance[kStep] = {};
    memcpy(x, x_ + first, static_cast<std::size_t>(n) * sizeof(float));
    if (importance_)
      memcpy(importance, importance_ + first, static_cast<std::size_t>(n) * sizeof(float));
    fit(first / kGroup, x, importance_ ? importance : nullptr);
  }

  void fit(int group, const float* values, const float* importance) {
    alignas(64) float x[kGroup * kLanes], weight[kGroup * kLanes];
    lay_in_lanes<kGroup>(values, x);
    AffineLanes<Lanes> fits;
    if (importance) {
      float mean_square[kLanes];
      for (int g = 0; g < kLanes; ++g)
        mean_square[g] = Rules::kSquareFactor * square_[(group + g) / kGroups] / 256;
      weigh_by_importance<kGroup>(x, importance, Lanes::load(mean_square), weight);
      sum_lanes<kGroup, Lanes>(weight).store(total_ + group);
      fits = search_affine_lanes<Lanes, Rules::kMax, false, kGroup>(x, weight,
                                                                    importance_candidates());
    } else {
      weigh(x, weight);
      fits = search_affine_lanes<Lanes, Rules::kMax, Rules::kAbsolute, kGroup>(x, weight,
                                                                               Rules::candidates());
    }
    fits.scale.store(scale_ + group);
    fits.min.store(min_ + group);
    fits.inverse.store(inverse_ + group);
    fits.start.store(start_ + group);
    for (int g = 0; g < kLanes; g += kGroups)
      if ((fits.odd >> g & ((1u << kGroups) - 1)) != 0) odd_ |= 1u << (group + g) / kGroups;
  }

  static void weigh(const float* x, float* weight) {
    Lanes level = Lanes::all(0);
    if (!Rules::kAbsolute) {
      for (int i = 0; i < kGroup; ++i)
        level = level + lanes_at<Lanes>(x, i) * lanes_at<Lanes>(x, i);
      level = square_root(level / Lanes::all(kGroup));
    }
    for (int i = 0; i < kGroup; ++i) {
      const Lanes m = magnitude(lanes_at<Lanes>(x, i));
      (Rules::kAbsolute ? m : level + m).store(weight + i * kLanes);
    }
  }

  /// Lane b: the scales of block b, lane 8 + b: its minimums.
  void choose_scales() {
    alignas(64) float x[kGroups * kLanes], weight[kGroups * kLanes], code[kGroups * kLanes];
    for (int i = 0; i < kGroups; i += 8) {
      transpose_8(scale_ + i, kGroups, x + i * kLanes, kLanes);
      transpose_8(min_ + i, kGroups, x + i * kLanes + 8, kLanes);
      transpose_8(total_ + i, kGroups, weight + i * kLanes, kLanes);
      transpose_8(total_ + i, kGroups, weight + i * kLanes + 8, kLanes);
    }
    const auto found = search_positive_lanes<Lanes, Rules::kScaleMax, kGroups>(x, weight, code);
    found.scale.store(unit_);
    for (int i = 0; i < kGroups; ++i) {
      std::uint8_t bytes[kLanes];
      store_codes(lanes_at<Lanes>(code, i), 0, 255, 0, bytes);
      for (int lane = 0; lane < kLanes; ++lane) scale_code_[lane][i] = bytes[lane];
    }
    for (int lane = 0; lane < kLanes; ++lane)
      if ((found.odd >> lane & 1u) != 0 && lane % 8 < n_) choose_odd_scales(lane);
  }

  void choose_odd_scales(int lane) {
    const int first = lane % 8 * kGroups;
    unit_[lane] = search_positive<kGroups, Rules::kScaleMax>((lane < 8 ? scale_ : min_) + first,
                                                             total_ + first, scale_code_[lane]);
  }

  void store_plain_scales(int b, Block& block) {
    std::uint8_t scale_code[kGroups], min_code[kGroups];
    const float scale = Rules::quantize_scales(scale_ + b * kGroups, scale_code);
    const float min = Rules::quantize_scales(min_ + b * kGroups, min_code);
    Rules::store_scales(scale, min, scale_code, min_code, block);
  }

  void make_codes(int b, Block& block) {
    std::uint8_t code[256];
    for (int j = 0; j < kGroups; ++j) {
      const float* x = x_ + b * 256 + j * kGroup;
      const float step = Rules::step(block, j), low = Rules::low(block, j);
      if (step != 0) {
        divided_codes<Lanes, kGroup>(x, low, step, 0, Rules::kMax, code + j * kGroup);
      } else {  // the codes of the search stay
        const int g = b * kGroups + j;
        for (int i = 0; i < kGroup; ++i)
          code[j * kGroup + i] =
              static_cast<std::uint8_t>(affine_code<Rules::kMax>(x[i], inverse_[g], start_[g]));
      }
    }
    store_codes(code, block);
  }

  const float* x_;
  const float* importance_;
  int n_;
  unsigned odd_;  ///< bits of blocks
  float square_[kBlocks];
  alignas(64) float scale_[kBlocks * kGroups] = {}, min_[kBlocks * kGroups] = {},
                                     total_[kBlocks * kGroups] = {};
  float inverse_[kBlocks * kGroups], start_[kBlocks * kGroups];
  float unit_[kLanes];
  std::uint8_t scale_code_[kLanes][kGroups];
};

template <class Lanes, class Block>
void encode_affine_lanes(const float* row, const float* importance, void* blocks,
                         std::size_t n_values) noexcept {
  AffineBatch<Lanes, Block> batch;
  for (std::size_t at = 0; at < n_values; at += 8 * 256) {
    const std::size_t n = n_values - at < 8 * 256 ? n_values - at : 8 * 256;
    batch.encode(row + at, importance ? importance + at : nullptr, static_cast<int>(n / 256),
                 static_cast<Block*>(blocks) + at / 256);
  }
}

}  // namespace
}  // namespace lq::kernels

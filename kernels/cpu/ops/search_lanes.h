#pragma once
// The searches of blocks/scale_search.h with a group of values in each lane: the same binary32
// operations in the same order for each group, so the same results. What their rounding does beyond
// 2^22 is left to them: such lanes are reported as odd, and nothing else is to be used of them.
// Groups of N values lie side by side, [N][kLanes]: memory, not vectors, because g++ 12 moves
// arrays of structures of vectors in parts.
#include "kernels/blocks/scale_search.h"

namespace lq::kernels {
namespace {

constexpr int kLanes = 16;

/// Value i of the group in each lane.
template <class Lanes>
Lanes lanes_at(const float* side_by_side, int i) {
  return Lanes::load(side_by_side + i * kLanes);
}

/// Up to here, nearest() is round_even().
constexpr float kRoundLimit = 4194303.0f;

/// Bits of the lanes where the mask does not hold.
template <class Mask>
unsigned others(Mask mask) {
  return ~bits_of(mask) & 0xffffu;
}

/// What a search found for the group in each lane.
template <class Lanes>
struct AffineLanes {
  Lanes scale, min;      ///< x ~ scale * code - min
  Lanes inverse, start;  ///< codes: affine_codes(); 0 for groups without range, whose codes are 0
  unsigned odd;          ///< bits of lanes
};

template <int kMax, class Lanes>
Lanes affine_codes(Lanes x, Lanes inverse, Lanes start) {
  return least(largest(nearest(inverse * (x - start)), Lanes::all(0)), Lanes::all(kMax));
}

/// Sums over the values of a group, for the codes of a candidate.
template <class Lanes>
struct AffineSums {
  Lanes l1, l2, xl;  ///< of weight * code, weight * code^2, weight * code * x
};

template <int kMax, int N, class Lanes>
AffineSums<Lanes> affine_sums(const float* x, const float* weight, Lanes inverse, Lanes start,
                              float* code) {
  AffineSums<Lanes> sums = {Lanes::all(0), Lanes::all(0), Lanes::all(0)};
  for (int i = 0; i < N; ++i) {
    const Lanes value = lanes_at<Lanes>(x, i);
    const Lanes l = affine_codes<kMax>(value, inverse, start);
    l.store(code + i * kLanes);
    const Lanes wl = lanes_at<Lanes>(weight, i) * l;
    sums.l1 = sums.l1 + wl;
    sums.l2 = sums.l2 + wl * l;
    sums.xl = sums.xl + wl * value;
  }
  return sums;
}

template <bool kAbsolute, int N, class Lanes>
Lanes affine_errors(const float* x, const float* weight, const float* code, Lanes scale,
                    Lanes low) {
  Lanes error = Lanes::all(0);
  for (int i = 0; i < N; ++i) {
    const Lanes d = scale * lanes_at<Lanes>(code, i) + low - lanes_at<Lanes>(x, i);
    error = error + lanes_at<Lanes>(weight, i) * (kAbsolute ? magnitude(d) : d * d);
  }
  return error;
}

/// Least and largest value, and the sums of weight and weight * x.
template <class Lanes>
struct GroupFacts {
  Lanes low, high, sum_w, sum_wx;
};

template <int N, class Lanes>
GroupFacts<Lanes> describe_groups(const float* x, const float* weight) {
  const Lanes first = Lanes::load(x), first_weight = Lanes::load(weight);
  GroupFacts<Lanes> facts = {first, first, first_weight, first_weight * first};
  for (int i = 1; i < N; ++i) {
    const Lanes value = lanes_at<Lanes>(x, i), w = lanes_at<Lanes>(weight, i);
    facts.low = least(value, facts.low);
    facts.high = largest(value, facts.high);
    facts.sum_w = facts.sum_w + w;
    facts.sum_wx = facts.sum_wx + w * value;
  }
  const Lanes zero = Lanes::all(0);
  facts.low = select(zero < facts.low, zero, facts.low);
  return facts;
}

/// search_affine() of scale_search.h.
template <class Lanes, int kMax, bool kAbsolute, int N>
AffineLanes<Lanes> search_affine_lanes(const float* x, const float* weight,
                                       const AffineCandidates& candidates) {
  const Lanes zero = Lanes::all(0), limit = Lanes::all(kRoundLimit);
  const GroupFacts<Lanes> facts = describe_groups<N, Lanes>(x, weight);
  alignas(64) float code[N * kLanes];
  AffineLanes<Lanes> best;
  best.inverse = Lanes::all(kMax) / (facts.high - facts.low);
  best.start = facts.low;
  best.scale = Lanes::all(1) / best.inverse;
  auto ordinary = best.inverse * (facts.high - facts.low) <= limit;
  affine_sums<kMax, N>(x, weight, best.inverse, best.start, code);  // for its codes
  Lanes low = facts.low;
  Lanes least_error = affine_errors<kAbsolute, N>(x, weight, code, best.scale, low);
  for (int k = 0; k <= candidates.steps; ++k) {
    const float offset = candidates.first + candidates.step * static_cast<float>(k) + kMax;
    const Lanes inverse = Lanes::all(offset) / (facts.high - low);
    ordinary = ordinary & (magnitude(inverse * (facts.low - low)) <= limit) &
               (magnitude(inverse * (facts.high - low)) <= limit);
    const auto s = affine_sums<kMax, N>(x, weight, inverse, low, code);
    const Lanes determinant = facts.sum_w * s.l2 - s.l1 * s.l1;
    const Lanes fit_scale = (facts.sum_w * s.xl - facts.sum_wx * s.l1) / determinant;
    const Lanes fit_low = (s.l2 * facts.sum_wx - s.l1 * s.xl) / determinant;
    const auto through_0 = zero < fit_low;
    const Lanes scale = select(through_0, s.xl / s.l2, fit_scale);
    const Lanes next_low = select(through_0, zero, fit_low);
    const Lanes error = affine_errors<kAbsolute, N>(x, weight, code, scale, next_low);
    const auto better = (zero < determinant) & (error < least_error);
    least_error = select(better, error, least_error);
    best.inverse = select(better, inverse, best.inverse);
    best.start = select(better, low, best.start);
    best.scale = select(better, scale, best.scale);
    low = select(better, next_low, low);
  }
  const auto flat = facts.high == facts.low;
  best.min = negative(low);
  best.scale = select(flat, zero, best.scale);
  best.inverse = select(flat, zero, best.inverse);
  best.start = select(flat, zero, best.start);
  best.odd = others(ordinary | flat);
  return best;
}

/// x ~ scale * code. Groups too small to store have inverse 0: their stored codes are 0.
template <class Lanes>
struct SignedLanes {
  Lanes scale;
  Lanes inverse;  ///< code: nearest(inverse * x) within [-kRange, kRange - 1]
};

template <int kRange, class Lanes>
Lanes signed_codes(Lanes scaled) {
  return least(largest(nearest(scaled), Lanes::all(-kRange)), Lanes::all(kRange - 1));
}

template <int N, class Lanes>
Lanes peak_lanes(const float* x) {
  Lanes peak = Lanes::all(0), peak_magnitude = Lanes::all(0);
  for (int i = 0; i < N; ++i) {
    const Lanes value = lanes_at<Lanes>(x, i), m = magnitude(value);
    peak = select(peak_magnitude < m, value, peak);
    peak_magnitude = largest(m, peak_magnitude);
  }
  return peak;
}

/// search_signed() of scale_search.h. Values are finite.
template <class Lanes, int kRange, int N>
SignedLanes<Lanes> search_signed_lanes(const float* x, const float* weight) {
  const Lanes zero = Lanes::all(0), peak = peak_lanes<N, Lanes>(x);
  alignas(64) float weight_x[N * kLanes];
  for (int i = 0; i < N; ++i)
    (lanes_at<Lanes>(weight, i) * lanes_at<Lanes>(x, i)).store(weight_x + i * kLanes);
  struct Sums {
    Lanes xl, ll;
  };
  const auto sums_for = [&](Lanes inverse) {
    Sums sums = {Lanes::all(0), Lanes::all(0)};
    for (int i = 0; i < N; ++i) {
      const Lanes l = signed_codes<kRange>(inverse * lanes_at<Lanes>(x, i));
      sums.xl = sums.xl + lanes_at<Lanes>(weight_x, i) * l;
      sums.ll = sums.ll + lanes_at<Lanes>(weight, i) * l * l;
    }
    return sums;
  };
  SignedLanes<Lanes> best;
  best.inverse = Lanes::all(-kRange) / peak;
  const Sums first = sums_for(best.inverse);
  best.scale = select(first.ll == zero, zero, first.xl / first.ll);
  Lanes gain = best.scale * first.xl;
  for (int k = -9; k <= 9; ++k) {
    if (k == 0) continue;
    const Lanes inverse = Lanes::all(-(kRange + 0.1f * static_cast<float>(k))) / peak;
    const Sums s = sums_for(inverse);
    const Lanes quotient = s.xl / s.ll;
    const auto better = (zero < s.ll) & (gain * s.ll < s.xl * s.xl);
    best.inverse = select(better, inverse, best.inverse);
    best.scale = select(better, quotient, best.scale);
    gain = select(better, quotient * s.xl, gain);
  }
  const auto tiny = magnitude(peak) < Lanes::all(kTinyGroup);
  best.scale = select(tiny, zero, best.scale);
  best.inverse = select(tiny, zero, best.inverse);
  return best;
}

/// Weighted sums that tell how well a group's codes fit, and what makes them.
template <class Lanes>
struct GreedySums {
  Lanes xl, ll;  ///< of weight * x * code, weight * code^2
};

/// search_signed_greedy() of scale_search.h for kSets vectors of groups at once, so that one set's
/// arithmetic fills the waiting times of another. `level`: the codes less kRange; `scale` and
/// `level` are not set for groups that are `tiny` (bits of lanes).
template <class Lanes, int kRange, int N, int kSets>
struct GreedyLanes {
  alignas(64) float x[kSets][N * kLanes];
  alignas(64) float level[kSets][N * kLanes], weight[kSets][N * kLanes],
      weight_x[kSets][N * kLanes];
  float scale[kSets][kLanes];
  unsigned tiny[kSets], odd[kSets];

  void search() {
    using Mask = typename Lanes::Mask;
    const Lanes zero = Lanes::all(0);
    GreedySums<Lanes> sums[kSets];
    Mask not_round[kSets];
    for (int s = 0; s < kSets; ++s) {
      start(s, sums[s]);
      not_round[s] = zero < zero;
    }
    for (int sweep = 0; sweep < 5; ++sweep) {
      Mask changed = zero < zero;
      for (int i = 0; i < N; ++i)
        for (int s = 0; s < kSets; ++s) changed = changed | improve(i, s, sums[s], not_round[s]);
      if (bits_of(changed) == 0) break;
    }
    for (int s = 0; s < kSets; ++s) {
      select(zero < sums[s].ll, sums[s].xl / sums[s].ll, zero).store(scale[s]);
      odd[s] = bits_of(not_round[s]) & ~tiny[s];
    }
  }

 private:
  void start(int s, GreedySums<Lanes>& sums) {
    const Lanes peak = peak_lanes<N, Lanes>(x[s]), inverse = Lanes::all(-kRange) / peak;
    sums = {Lanes::all(0), Lanes::all(0)};
    for (int i = 0; i < N; ++i) {
      const Lanes value = lanes_at<Lanes>(x[s], i), w = value * value, wx = w * value;
      const Lanes l = signed_codes<kRange>(inverse * value);
      w.store(weight[s] + i * kLanes);
      wx.store(weight_x[s] + i * kLanes);
      l.store(level[s] + i * kLanes);
      sums.xl = sums.xl + wx * l;
      sums.ll = sums.ll + w * l * l;
    }
    tiny[s] = bits_of(magnitude(peak) < Lanes::all(kTinyGroup));
  }

  /// Returns the lanes whose code i changed.
  typename Lanes::Mask improve(int i, int s, GreedySums<Lanes>& sums,
                               typename Lanes::Mask& not_round) {
    const Lanes zero = Lanes::all(0), l = lanes_at<Lanes>(level[s], i);
    const Lanes w = lanes_at<Lanes>(weight[s], i), wx = lanes_at<Lanes>(weight_x[s], i);
    const Lanes xl = sums.xl - wx * l, ll = sums.ll - w * l * l;
    const auto active = zero < xl;
    const Lanes quotient = lanes_at<Lanes>(x[s], i) * ll / xl;
    not_round = not_round | but_not(active, magnitude(quotient) <= Lanes::all(kRoundLimit));
    const Lanes b = signed_codes<kRange>(quotient);
    const auto differs = but_not(active, b == l);
    if (bits_of(differs) == 0) return differs;
    const Lanes new_xl = xl + wx * b, new_ll = ll + w * b * b;
    const auto better =
        differs & (zero < new_ll) & (sums.xl * sums.xl * new_ll < new_xl * new_xl * sums.ll);
    select(better, b, l).store(level[s] + i * kLanes);
    sums.xl = select(better, new_xl, sums.xl);
    sums.ll = select(better, new_ll, sums.ll);
    return better;
  }
};

/// search_positive() of scale_search.h.
template <class Lanes>
struct PositiveLanes {
  Lanes scale;
  unsigned odd;  ///< bits of lanes
};

/// The best of the candidate inverse scales.
template <int N, int kMax, class Lanes>
Lanes best_positive_inverse(const float* x, const float* weight, Lanes peak) {
  const Lanes most = Lanes::all(kMax);
  const auto error_of = [&](Lanes inverse, Lanes scale) {
    Lanes error = Lanes::all(0);
    for (int i = 0; i < N; ++i) {
      const Lanes value = lanes_at<Lanes>(x, i);
      const Lanes d = value - scale * least(nearest(inverse * value), most);
      error = error + lanes_at<Lanes>(weight, i) * d * d;
    }
    return error;
  };
  Lanes best = most / peak;
  Lanes least_error = error_of(best, Lanes::all(1) / best);
  for (int k = -4; k <= 4; ++k) {
    if (k == 0) continue;
    const Lanes inverse = Lanes::all(0.1f * static_cast<float>(k) + kMax) / peak;
    const Lanes error = error_of(inverse, Lanes::all(1) / inverse);
    const auto better = error < least_error;
    least_error = select(better, error, least_error);
    best = select(better, inverse, best);
  }
  return best;
}

/// code: [N][kLanes].
template <class Lanes, int kMax, int N>
PositiveLanes<Lanes> search_positive_lanes(const float* x, const float* weight, float* code) {
  const Lanes zero = Lanes::all(0), most = Lanes::all(kMax), limit = Lanes::all(kRoundLimit);
  Lanes peak = zero;
  auto ordinary = zero <= zero;
  for (int i = 0; i < N; ++i) {
    peak = largest(lanes_at<Lanes>(x, i), peak);
    ordinary = ordinary & (zero <= lanes_at<Lanes>(x, i));
  }
  ordinary = ordinary & (peak <= Lanes::all(1e30f));
  const auto tiny = peak < Lanes::all(kTinyGroup);
  const Lanes inverse = best_positive_inverse<N, kMax>(x, weight, peak);
  GreedySums<Lanes> sums = {zero, zero};
  for (int i = 0; i < N; ++i) {
    const Lanes value = lanes_at<Lanes>(x, i), w = lanes_at<Lanes>(weight, i);
    const Lanes l = least(nearest(inverse * value), most);
    l.store(code + i * kLanes);
    sums.xl = sums.xl + w * value * l;
    sums.ll = sums.ll + w * l * l;
  }
  auto not_round = zero < zero;
  for (int sweep = 0; sweep < 5; ++sweep) {
    auto changed = zero < zero;
    for (int i = 0; i < N; ++i) {
      const Lanes l = lanes_at<Lanes>(code, i), w = lanes_at<Lanes>(weight, i);
      const Lanes value = lanes_at<Lanes>(x, i), wx = w * value;
      const Lanes xl = sums.xl - wx * l, ll = sums.ll - w * l * l;
      const auto active = (zero < xl) & (zero < ll);
      const Lanes quotient = value * ll / xl;
      not_round = not_round | but_not(active, quotient <= limit);
      const Lanes b = least(nearest(quotient), most);
      const Lanes new_xl = xl + wx * b, new_ll = ll + w * b * b;
      const auto better =
          but_not(active, b == l) & (sums.xl * sums.xl * new_ll < new_xl * new_xl * sums.ll);
      select(better, b, l).store(code + i * kLanes);
      sums.xl = select(better, new_xl, sums.xl);
      sums.ll = select(better, new_ll, sums.ll);
      changed = changed | better;
    }
    if (bits_of(changed) == 0) break;
  }
  for (int i = 0; i < N; ++i) select(tiny, zero, lanes_at<Lanes>(code, i)).store(code + i * kLanes);
  const Lanes scale = select(zero < sums.ll, sums.xl / sums.ll, zero);
  return {select(tiny, zero, scale), (bits_of(not_round) & others(tiny)) | others(ordinary)};
}

}  // namespace
}  // namespace lq::kernels

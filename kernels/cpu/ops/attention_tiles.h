#pragma once
// Attention of many query rows: a lane is a row, so that softmax needs no sums across lanes and
// nothing is transposed but the queries.
//
//   panel: 3 registers of rows          weights[position][row] = keys[position][] . queries[][row]
//   positions: blocks of 64, as floats  mixed[d][row] = keep[row] * mixed + values[][d] . weights
//
// A block is made floats once and meets all panels of up to kAttentionRows rows. A panel takes only
// the positions that its last row sees; what its other rows do not see gets the weight 0.
//
// O says what products are made of: words of 32 bits, which are floats (FloatOperands) or pairs of
// what is multiplied with each other.
#include "kernels/cpu/ops/attention_cache.h"

namespace lq::kernels {
namespace {

constexpr int kPanelVectors = 3;

template <class Vectors>
struct FloatOperands {
  using V = Vectors;
  static constexpr int kValues = 1;  ///< of a word

  static typename V::Value add_product(typename V::Value a, typename V::Value b,
                                       typename V::Value sum) {
    return V::multiply_add(a, b, sum);
  }
  /// n values times a scale to a column of words.
  static void put_column(const float* x, int n, float scale, std::ptrdiff_t stride, float* words) {
    for (int k = 0; k < n; ++k) words[k * stride] = x[k] * scale;
  }
  /// Words of one row: neighbours are multiplied together.
  template <class Block>
  static void load_row(const std::byte* stored, int n, float* words) {
    expand_row<V, Block>(stored, n, words);
  }
  /// Words of n_rows rows of n values: rows are multiplied together. [n_rows / kValues][stride].
  template <class Block>
  static void load_rows(const std::byte* const* stored, int n_rows, int n, std::ptrdiff_t stride,
                        float* words) {
    for (int j = 0; j < n_rows; ++j) expand_row<V, Block>(stored[j], n, words + j * stride);
  }
  /// The same of floats that are there: [n_rows][stride].
  static void pack_rows(int, int, float*) {}
};

/// Parts of the scratch memory and the state of one call.
template <class O>
struct AttentionTile {
  using V = typename O::V;
  static constexpr int kPanel = kPanelVectors * V::kLanes;
  static constexpr int kPanels = (kAttentionRows + kPanel - 1) / kPanel;
  static_assert(kPanels * kPanel <= kAttentionRows + 48);

  const AttentionArgs& a;
  int first_row, n_rows;
  int key_words;                 ///< of a key or query
  int value_rows;                ///< value_dim in whole tiles of products
  float *queries, *mixed;        ///< of a panel: [key_words][kPanel], [value_rows][kPanel]
  float *keys, *values;          ///< of the block: [positions][key_words], [words][value_rows]
  float* weights;                ///< [kAttentionBlock][kPanel]
  float *seen, *peaks, *totals;  ///< [kPanels][kPanel]; seen: positions from 0 on
  const std::byte* wanted[2 * kAttentionBlock];  ///< keys, then values of the next block
  int n_wanted = 0, n_asked = 0;
  float keep[kPanel];  ///< what a block's new peaks make of what was there

  AttentionTile(const AttentionArgs& args, int first, int n)
      : a(args),
        first_row(first),
        n_rows(n),
        key_words(args.head_dim / O::kValues),
        value_rows((args.value_dim + V::kTileRows - 1) / V::kTileRows * V::kTileRows) {
    float* next = aligned_scratch(a);
    const auto take = [&](int rows, int columns) {
      float* part = next;
      next += static_cast<std::ptrdiff_t>(rows) * columns;
      return part;
    };
    queries = take(kPanels * kPanel, key_words);
    mixed = take(kPanels * kPanel, value_rows);
    keys = take(kAttentionBlock, key_words);
    values = take(kAttentionBlock / O::kValues, value_rows);
    weights = take(kAttentionBlock, kPanel);
    seen = take(kPanels, kPanel);
    peaks = take(kPanels, kPanel);
    totals = take(kPanels, kPanel);
    load_queries();
  }

  int n_panels() const { return (n_rows + kPanel - 1) / kPanel; }
  float* queries_of(int panel) const { return queries + panel * kPanel * key_words; }
  float* mixed_of(int panel) const { return mixed + panel * kPanel * value_rows; }
  /// Positions that the tile's row `row` sees; those behind the last are like it.
  int seen_by(int row) const {
    const int last = n_rows - 1;
    return a.first_position + (first_row + (row < last ? row : last)) / a.group + 1;
  }

  void load_queries() {
    for (int row = 0; row < n_panels() * kPanel; ++row) {
      const int panel = row / kPanel, lane = row % kPanel;
      seen[row] = static_cast<float>(seen_by(row));
      peaks[row] = kNoScore;
      totals[row] = 0;
      const int r = first_row + (row < n_rows ? row : n_rows - 1);
      const float* query = a.query + static_cast<std::size_t>(r / a.group) * a.query_stride +
                           static_cast<std::ptrdiff_t>(r % a.group) * a.head_dim;
      O::put_column(query, a.head_dim, a.scale * kLog2E, kPanel, queries_of(panel) + lane);
    }
    for (int i = 0; i < n_panels() * kPanel * value_rows; ++i) mixed[i] = 0;
  }

  /// Makes operands of n positions from `first` on; the n_next after them will be asked for.
  template <class Block>
  void load_block(int first, int n, int n_next) {
    const std::byte* rows[kAttentionBlock];
    find_rows(a, a.keys, a.key_page, a.key_row, first, n, rows);
    for (int j = 0; j < n; ++j)
      O::template load_row<Block>(rows[j], a.head_dim, keys + j * key_words);
    find_rows(a, a.values, a.value_page, a.value_row, first, n, rows);
    O::template load_rows<Block>(rows, n, a.value_dim, value_rows, values);
    find_rows(a, a.keys, a.key_page, a.key_row, first + n, n_next, wanted);
    find_rows(a, a.values, a.value_page, a.value_row, first + n, n_next, wanted + n_next);
    n_wanted = 2 * n_next;
    n_asked = 0;
  }
  /// For a row of the next block: called for each product, so that memory works meanwhile.
  void ask_ahead() {
    if (n_asked == n_wanted) return;
    const std::size_t bytes = n_asked < n_wanted / 2 ? a.key_row : a.value_row;
    const std::byte* row = wanted[n_asked++];
    for (std::size_t b = 0; b < bytes; b += 64) __builtin_prefetch(row + b);
  }

  void store_results() const {
    for (int row = 0; row < n_rows; ++row) {
      const int r = first_row + row;
      float* out = a.out + static_cast<std::size_t>(r / a.group) * a.out_stride +
                   static_cast<std::ptrdiff_t>(r % a.group) * a.value_dim;
      const float* from = mixed_of(row / kPanel) + row % kPanel;
      const float scale = a.peaks ? 1.0f : 1.0f / totals[row];
      for (int d = 0; d < a.value_dim; ++d) out[d] = from[d * kPanel] * scale;
      if (!a.peaks) continue;
      a.peaks[r] = peaks[row];
      a.totals[r] = totals[row];
    }
  }
};

/// c[r][i] = keep[i] * c[r][i] + sum over words k of a(r, k) * b[k][i] for V::kTileRows rows of a
/// panel; without kKeep the first term is left out. a(r, k) is a[r][k], with kAcross a[k][r].
/// A call for itself: inlined, its 16 registers are not enough for g++.
template <class O, bool kAcross, bool kKeep>
[[gnu::noinline]] static void multiply_panel(const float* a, std::ptrdiff_t stride, const float* b,
                                             int depth, const float* keep, float* c) {
  using V = typename O::V;
  constexpr int kRows = V::kTileRows, kPanel = kPanelVectors * V::kLanes;
  typename V::Value sum[kRows][kPanelVectors];
  for (auto& row : sum)
    for (auto& s : row) s = V::zero();
  for (int k = 0; k < depth; ++k, b += kPanel) {
    typename V::Value right[kPanelVectors];
    for (int i = 0; i < kPanelVectors; ++i) right[i] = V::load(b + i * V::kLanes);
    for (int r = 0; r < kRows; ++r) {
      const auto left = V::all(kAcross ? a[k * stride + r] : a[r * stride + k]);
      for (int i = 0; i < kPanelVectors; ++i) sum[r][i] = O::add_product(left, right[i], sum[r][i]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int i = 0; i < kPanelVectors; ++i) {
      float* out = c + r * kPanel + i * V::kLanes;
      if constexpr (kKeep)
        sum[r][i] = V::multiply_add(V::load(keep + i * V::kLanes), V::load(out), sum[r][i]);
      V::store(out, sum[r][i]);
    }
}

/// Scores of n positions from `first` on become weights under the new peaks; `hidden`: the first of
/// them that some row does not see.
template <class O>
inline void weigh_panel(AttentionTile<O>& tile, int panel, int first, int n, int hidden) {
  using V = typename O::V;
  constexpr int kPanel = AttentionTile<O>::kPanel;
  for (int i = 0; i < kPanel; i += V::kLanes) {
    float* score = tile.weights + i;
    const int row = panel * kPanel + i;
    const auto seen = V::load(tile.seen + row);
    const auto old = V::load(tile.peaks + row);
    auto peak = old;
    int j = 0;
    for (; j < hidden; ++j) peak = V::largest(V::load(score + j * kPanel), peak);
    for (; j < n; ++j) {
      const auto known = V::less(V::all(static_cast<float>(first + j)), seen);
      const auto s = V::select(known, V::load(score + j * kPanel), V::all(kNoScore));
      peak = V::largest(s, peak);
    }
    const auto keep = power_of_two<V>(old - peak);
    V::store(tile.keep + i, keep);
    V::store(tile.peaks + row, peak);
    auto total = V::load(tile.totals + row) * keep;
    for (j = 0; j < hidden; ++j) {
      const auto w = power_of_two<V>(V::load(score + j * kPanel) - peak);
      total = total + w;
      V::store(score + j * kPanel, w);
    }
    for (; j < n; ++j) {
      const auto known = V::less(V::all(static_cast<float>(first + j)), seen);
      const auto w =
          V::select(known, power_of_two<V>(V::load(score + j * kPanel) - peak), V::zero());
      total = total + w;
      V::store(score + j * kPanel, w);
    }
    V::store(tile.totals + row, total);
  }
}

/// A block of n positions from `first` on.
template <class O>
inline void attend_panel(AttentionTile<O>& tile, int panel, int first, int n) {
  constexpr int kPanel = AttentionTile<O>::kPanel, kRows = O::V::kTileRows;
  const int to_last = tile.seen_by((panel + 1) * kPanel - 1) - first;
  const int to_first = tile.seen_by(panel * kPanel) - first;
  n = n < to_last ? n : to_last;
  if (n <= 0) return;
  for (int j = 0; j < n; j += kRows) {
    tile.ask_ahead();
    multiply_panel<O, false, false>(tile.keys + j * tile.key_words, tile.key_words,
                                    tile.queries_of(panel), tile.key_words, nullptr,
                                    tile.weights + j * kPanel);
  }
  weigh_panel(tile, panel, first, n, to_first < 0 ? 0 : to_first < n ? to_first : n);
  O::pack_rows(n, kPanel, tile.weights);
  for (int d = 0; d < tile.value_rows; d += kRows) {
    tile.ask_ahead();
    multiply_panel<O, true, true>(tile.values + d, tile.value_rows, tile.weights,
                                  (n + O::kValues - 1) / O::kValues, tile.keep,
                                  tile.mixed_of(panel) + d * kPanel);
  }
}

template <class O, class Block>
inline void attend_tiles(const AttentionArgs& a) {
  const int n_rows = a.n_tokens * a.group;
  for (int row = 0; row < n_rows; row += kAttentionRows) {
    AttentionTile<O> tile(a, row, n_rows - row < kAttentionRows ? n_rows - row : kAttentionRows);
    const int seen = tile.seen_by(kAttentionRows);
    const int end = seen < a.end ? seen : a.end;
    for (int first = a.begin; first < end; first += kAttentionBlock) {
      const auto most = [&](int left) { return left < kAttentionBlock ? left : kAttentionBlock; };
      const int n = most(end - first);
      tile.template load_block<Block>(first, n, most(end - first - n));
      for (int panel = 0; panel < tile.n_panels(); ++panel) attend_panel(tile, panel, first, n);
    }
    tile.store_results();
  }
}

}  // namespace
}  // namespace lq::kernels

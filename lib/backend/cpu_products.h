#pragma once
// Products of weights and activations on the threads of the CPU backend.
#include <algorithm>
#include <span>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "lib/backend/backend.h"
#include "lib/backend/input_rounding.h"
#include "lib/base/thread_pool.h"

namespace lq {

/// A size of a view or a weight: checked, not negative.
inline std::size_t size_of(int n) { return static_cast<std::size_t>(n); }

/// What weights are multiplied with: x, or norm(x).
struct ProductInput {
  View x;                       ///< [tokens][cols]
  const float* norm = nullptr;  ///< [cols]; null: x as it is
  float eps = 0;
  View normed;  ///< gets norm(x)
};

/// y = W times the input.
struct Product {
  const WeightView* weight = nullptr;
  View y;
};

/// Rows [begin, end) of a product; begin is a multiple of 16.
struct RowRange {
  int begin, end;
};

/// Few tokens: every worker normalises and rounds the input for itself, which is shorter than
/// waiting for each other. Many: the tokens are shared out first, then the rows. Tasks are ranges
/// of rows, taken one by one.
class CpuProducts {
 public:
  CpuProducts(ThreadPool& pool, const kernels::KernelTable& table);

  /// All products, one after the other, of weights that want the same rounding of the input.
  /// finish(i, rows) is called where rows of product i have just
  /// been computed.
  template <class Finish>
  void run(const ProductInput& input, std::span<const Product> products, const Finish& finish);
  /// Products of the same shape, the same rows of all of them in one task. finish(rows).
  template <class Finish>
  void run_together(const ProductInput& input, std::span<const Product> products,
                    const Finish& finish);

 private:
  static constexpr int kUnit = 16;  ///< rows that are not divided
  static constexpr int kWays = 3;   ///< of PanelKernels
  /// Whose weights a job has, and tokens of a tile.
  struct Way {
    const kernels::PanelProducts* products;
    bool wants_tiles = false;
    int width = 1;
  };
  /// The input in the forms that the weights want.
  struct Prepared {
    const float* x = nullptr;
    std::size_t x_stride = 0;
    const std::byte* tiles[kWays] = {};
  };
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  struct Scratch {
    std::vector<float> normed, rounded;
    RoundingScratch rounding;
    std::vector<Line> tiles[kWays];
    std::byte* tile_bytes(int way) { return reinterpret_cast<std::byte*>(tiles[way].data()); }
  };

  /// Returns the number of tasks for n_units units of rows.
  int begin(const ProductInput& input, std::span<const Product> products, int n_units);
  void enter(int worker);
  /// Tokens [first, first + n), whole tiles, of the input. Returns them as they are multiplied, but
  /// for rounding to tiles.
  const float* prepare(int first, int n, float* normed, Scratch& scratch, int worker);
  void make_tiles(const float* x, int first, int n, Scratch& scratch);
  int way_of(const WeightView& weight) const;
  void multiply(const Product& product, RowRange rows, int worker) const;
  /// Without the weight's factor.
  void multiply_weight(const Product& product, RowRange rows, int worker) const;
  void reserve(Scratch& scratch, int n_tokens) const;

  ThreadPool& pool_;
  const kernels::KernelTable& table_;
  std::vector<Scratch> own_;  ///< by worker, for few tokens
  Scratch shared_;
  std::vector<Prepared> prepared_;  ///< by worker
  ProductInput input_;
  ActivationRounding rounding_;
  Way ways_[kWays];
  bool few_ = true;
};

inline int units_of(const Product& product) { return (product.weight->rows + 15) / 16; }

template <class Finish>
void CpuProducts::run(const ProductInput& input, std::span<const Product> products,
                      const Finish& finish) {
  int n_units = 0;
  for (const Product& product : products) n_units += units_of(product);
  const int n_tasks = begin(input, products, n_units);
  pool_.run(
      n_tasks, [&](int worker) { enter(worker); },
      [&](int task, int worker) {
        const auto unit = [&](int i) {
          return static_cast<int>(static_cast<std::int64_t>(n_units) * i / n_tasks);
        };
        int first = 0;  // unit of the product
        for (std::size_t i = 0; i < products.size(); ++i) {
          const int n = units_of(products[i]);
          const int from = std::max(unit(task) - first, 0),
                    to = std::min(unit(task + 1) - first, n);
          if (from < to) {
            const RowRange rows{from * kUnit, std::min(to * kUnit, products[i].weight->rows)};
            multiply(products[i], rows, worker);
            finish(static_cast<int>(i), rows);
          }
          first += n;
        }
      });
}

template <class Finish>
void CpuProducts::run_together(const ProductInput& input, std::span<const Product> products,
                               const Finish& finish) {
  const int n_units = units_of(products[0]), n_rows = products[0].weight->rows;
  const int n_tasks = begin(input, products, n_units);
  pool_.run(
      n_tasks, [&](int worker) { enter(worker); },
      [&](int task, int worker) {
        const auto row = [&](int i) {
          const auto unit = static_cast<std::int64_t>(n_units) * i / n_tasks;
          return std::min(static_cast<int>(unit) * kUnit, n_rows);
        };
        const RowRange rows{row(task), row(task + 1)};
        if (rows.begin == rows.end) return;
        for (const Product& product : products) multiply(product, rows, worker);
        finish(rows);
      });
}

}  // namespace lq

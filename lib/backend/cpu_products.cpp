#include "lib/backend/cpu_products.h"

namespace lq {
namespace {

/// A product of fewer multiplications stays on the calling thread.
constexpr std::int64_t kProductsWorthSharing = 1 << 14;
/// Multiplications that a task should have at least.
constexpr std::int64_t kTaskWork = 1 << 16;

}  // namespace

CpuProducts::CpuProducts(ThreadPool& pool, const kernels::KernelTable& table)
    : pool_(pool),
      table_(table),
      own_(size_of(pool.threads())),
      prepared_(size_of(pool.threads())),
      ways_{{&table.panels.few}, {&table.panels.requantized}, {&table.panels.tiles}} {}

int CpuProducts::way_of(const WeightView& weight) const {
  const kernels::PanelProducts* const wanted = &table_.panels.products(weight.type, input_.x.rows);
  int way = 0;
  while (ways_[way].products != wanted) ++way;
  return way;
}

void CpuProducts::reserve(Scratch& scratch, int n_tokens) const {
  const int cols = input_.x.cols;
  const auto grow = [](auto& memory, std::size_t n) {
    if (memory.size() < n) memory.resize(n);
  };
  if (few_ && input_.norm) grow(scratch.normed, size_of(n_tokens) * size_of(cols));
  if (rounding_) grow(scratch.rounded, size_of(n_tokens) * size_of(cols));
  for (int way = 0; way < kWays; ++way) {
    const auto& [products, wants_tiles, width] = ways_[way];
    if (!wants_tiles) continue;
    const std::size_t places = size_of((n_tokens + width - 1) / width * width);
    grow(scratch.tiles[way],
         (places * products->activation_bytes(cols) + sizeof(Line) - 1) / sizeof(Line));
  }
}

int CpuProducts::begin(const ProductInput& input, std::span<const Product> products, int n_units) {
  input_ = input;
  rounding_ = products[0].weight->input;
  if (rounding_)
    for (Scratch& scratch : own_) scratch.rounding.reserve(size_of(input.x.cols));
  const int n_tokens = input.x.rows;
  int step = 1;  // whole tiles of every way
  for (Way& way : ways_) {
    way.wants_tiles = false;
    way.width = kernels::tile_width(n_tokens, way.products->widest_tile);
    step = std::max(step, way.width);
  }
  std::int64_t work = 0;
  for (const Product& product : products) {
    const WeightView& w = *product.weight;
    work += static_cast<std::int64_t>(w.rows) * w.cols * n_tokens;
    Way& way = ways_[way_of(w)];
    if (w.in_panels && way.products->multiply[index_of(w.type)]) way.wants_tiles = true;
  }
  few_ = n_tokens <= table_.panels.few.widest_tile;
  const bool alone = work < kProductsWorthSharing || pool_.threads() == 1;
  if (few_) {
    for (Scratch& scratch : own_) reserve(scratch, n_tokens);
  } else {
    reserve(shared_, n_tokens);
    pool_.run((n_tokens + step - 1) / step, [&](int task, int worker) {
      const int first = task * step;
      prepare(first, std::min(step, n_tokens - first),
              input_.norm ? input_.normed.data + static_cast<std::ptrdiff_t>(first) * input_.x.cols
                          : nullptr,
              shared_, worker);
    });
  }
  if (alone) return 1;
  const std::int64_t most = pool_.threads() * (few_ ? 4 : 8);
  const std::int64_t wanted = std::clamp<std::int64_t>(work / kTaskWork, pool_.threads(), most);
  return static_cast<int>(std::min<std::int64_t>(wanted, n_units));
}

const float* CpuProducts::prepare(int first, int n, float* normed, Scratch& scratch, int worker) {
  const int cols = input_.x.cols;
  const float* x = input_.x.data + static_cast<std::ptrdiff_t>(first) * cols;
  if (input_.norm) {
    for (int t = 0; t < n; ++t) {
      const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(t) * cols;
      table_.rms_norm(x + at, input_.norm, input_.eps, cols, normed + at);
    }
    x = normed;
  }
  if (rounding_) {
    float* const rounded = scratch.rounded.data() + static_cast<std::ptrdiff_t>(first) * cols;
    for (int t = 0; t < n; ++t) {
      const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(t) * cols;
      round_input(table_, rounding_, x + at, size_of(cols), own_[size_of(worker)].rounding,
                  rounded + at);
    }
    x = rounded;
  }
  make_tiles(x, first, n, scratch);
  return x;
}

void CpuProducts::make_tiles(const float* x, int first, int n, Scratch& scratch) {
  const int cols = input_.x.cols;
  for (int i = 0; i < kWays; ++i) {
    const auto& [products, wants_tiles, width] = ways_[i];
    if (!wants_tiles) continue;
    for (int t = 0; t < n; t += width)
      products->quantize(
          {.x = x + static_cast<std::ptrdiff_t>(t) * cols,
           .stride = size_of(cols),
           .cols = cols,
           .n_tokens = std::min(width, n - t),
           .width = width,
           .tile = scratch.tile_bytes(i) + size_of(first + t) * products->activation_bytes(cols)});
  }
}

void CpuProducts::enter(int worker) {
  Scratch& scratch = few_ ? own_[size_of(worker)] : shared_;
  const float* x = rounding_     ? shared_.rounded.data()
                   : input_.norm ? input_.normed.data
                                 : input_.x.data;
  if (few_) {
    // Worker 0 takes part in every job: norm(x) is there afterwards.
    float* const normed = worker == 0 ? input_.normed.data : scratch.normed.data();
    x = prepare(0, input_.x.rows, normed, scratch, worker);
  }
  Prepared& prepared = prepared_[size_of(worker)];
  prepared = {.x = x, .x_stride = size_of(input_.x.cols)};
  for (int way = 0; way < kWays; ++way) prepared.tiles[way] = scratch.tile_bytes(way);
}

void CpuProducts::multiply(const Product& product, RowRange rows, int worker) const {
  multiply_weight(product, rows, worker);
  if (product.weight->factor == 1) return;
  for (int t = 0; t < product.y.rows; ++t) {
    float* const y = product.y.data + static_cast<std::ptrdiff_t>(t) * product.y.cols;
    for (int r = rows.begin; r < rows.end; ++r) y[r] *= product.weight->factor;
  }
}

void CpuProducts::multiply_weight(const Product& product, RowRange rows, int worker) const {
  const WeightView& w = *product.weight;
  const Prepared& prepared = prepared_[size_of(worker)];
  const auto type = index_of(w.type);
  const int first_panel = rows.begin / kernels::kPanelRows;
  const int end_panel = (rows.end + kernels::kPanelRows - 1) / kernels::kPanelRows;
  const int way = way_of(w);
  const kernels::PanelProducts& products = *ways_[way].products;
  if (w.in_panels && products.multiply_floats[type]) {
    products.multiply_floats[type]({.panels = w.data,
                                    .rows = w.rows,
                                    .cols = w.cols,
                                    .panel_begin = first_panel,
                                    .panel_end = end_panel,
                                    .x = prepared.x,
                                    .x_stride = prepared.x_stride,
                                    .n_tokens = input_.x.rows,
                                    .y = product.y.data,
                                    .y_stride = size_of(product.y.cols)});
    return;
  }
  if (w.in_panels) {
    products.multiply[type]({.panels = w.data,
                             .rows = w.rows,
                             .cols = w.cols,
                             .panel_begin = first_panel,
                             .panel_end = end_panel,
                             .x = prepared.tiles[way],
                             .n_tokens = input_.x.rows,
                             .y = product.y.data,
                             .y_stride = size_of(product.y.cols)});
    return;
  }
  table_.matmul[type]({.w = w.data,
                       .row_bytes = traits(w.type).row_bytes(size_of(w.cols)),
                       .cols = w.cols,
                       .row_begin = rows.begin,
                       .row_end = rows.end,
                       .x = prepared.x,
                       .x_stride = prepared.x_stride,
                       .y = product.y.data,
                       .y_stride = size_of(product.y.cols),
                       .n_tokens = input_.x.rows});
}

}  // namespace lq

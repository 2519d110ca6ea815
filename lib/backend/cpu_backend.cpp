// The CPU backend: splits operations among threads; the arithmetic is in kernels/cpu.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "lib/backend/backend.h"
#include "lib/backend/cpu_attention.h"
#include "lib/backend/cpu_kernels.h"
#include "lib/backend/cpu_products.h"
#include "lib/backend/host_buffer.h"
#include "lib/backend/rope_table.h"
#include "lib/base/error.h"
#include "lib/base/parallel.h"
#include "lib/base/thread_pool.h"

namespace lq {
namespace {

using kernels::KernelTable;

/// Operations over fewer values than this stay on the calling thread.
constexpr std::size_t kWorthSharing = 16384;

float* row(const View& view, std::ptrdiff_t i) { return view.data + i * view.cols; }

std::size_t count(const View& view) { return size_of(view.rows) * size_of(view.cols); }

/// What a job throws first in the order of its work, whatever thread does it.
class FirstFailure {
 public:
  /// Does the work at `place`; false when that threw, or something before it.
  template <class Work>
  bool keeps(int place, const Work& work) {
    if (place > place_.load(std::memory_order_relaxed)) return false;
    try {
      work();
      return true;
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (place < place_) {
        place_ = place;
        thrown_ = std::current_exception();
      }
      return false;
    }
  }
  void rethrow() const {
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  std::mutex mutex_;
  std::atomic<int> place_{std::numeric_limits<int>::max()};
  std::exception_ptr thrown_;
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(int threads, const KernelTable& table)
      : pool_(threads), table_(table), products_(pool_, table), attention_(pool_, table) {}

  std::string_view name() const override { return "cpu"; }
  std::string_view instruction_set() const override { return table_.name; }
  std::unique_ptr<Buffer> allocate(std::size_t n_bytes) override {
    return make_host_buffer(n_bytes);
  }
  bool reads_host_memory() const override { return true; }
  std::unique_ptr<Buffer> repack(WeightView& weight, const RowMaker* rows) override;
  void copy_in(std::span<const std::byte> host, std::byte* device) override {
    if (!host.empty()) std::memcpy(device, host.data(), host.size());
  }
  void copy_out(const std::byte* device, std::span<std::byte> host) override {
    if (!host.empty()) std::memcpy(host.data(), device, host.size());
  }
  void synchronize() override {}

  void embed(const WeightView& table, std::span<const std::int32_t> tokens, View y) override;
  void matmul(const WeightView& w, View x, View y) override;
  void rms_norm(View x, const float* weight, float eps, int group, View y) override;
  void add_bias(const float* bias, View x) override;
  void rope(View x, int head_dim, const RopeArgs& args, int first_position) override;
  void kv_append(View k, View v, int n_kv_heads, int first_position,
                 const CacheView& cache) override;
  void attention(const AttentionStage& stage) override { attention_.run(stage); }
  void silu_multiply(View gate, View up, View y) override;
  void add(View x, View y) override;

  void qkv(const QkvStage& stage) override;
  void project(const ProjectStage& stage) override;
  void gated_up(const GatedUpStage& stage) override;
  void head(const HeadStage& stage) override;

 private:
  /// Calls body(begin, end) on parts of [0, n) on the threads; alone when `values` are few.
  template <class Body>
  void share(int n, std::size_t values, const Body& body) {
    const int parts = values < kWorthSharing ? 1 : std::min(n, 2 * pool_.threads());
    pool_.run(parts, [&](int i, int) {
      const auto at = [&](int part) { return static_cast<std::int64_t>(n) * part / parts; };
      body(static_cast<std::ptrdiff_t>(at(i)), static_cast<std::ptrdiff_t>(at(i + 1)));
    });
  }

  /// Writes the n values of a head at one position of a cache.
  void store(const float* x, std::size_t n, std::size_t place, DType type, void* pool) const;

  ThreadPool pool_;
  const KernelTable& table_;
  CpuProducts products_;
  CpuAttention attention_;
  RopeTable rope_table_;
};

void CpuBackend::embed(const WeightView& table, std::span<const std::int32_t> tokens, View y) {
  const DTypeTraits& type = traits(table.type);
  const std::size_t row_bytes = type.row_bytes(size_of(table.cols));
  share(y.rows, count(y), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t t = begin; t < end; ++t) {
      type.decode(table.data + size_of(tokens[static_cast<std::size_t>(t)]) * row_bytes, row(y, t),
                  size_of(table.cols));
      for (int i = 0; table.factor != 1 && i < y.cols; ++i) row(y, t)[i] *= table.factor;
    }
  });
}

void CpuBackend::matmul(const WeightView& w, View x, View y) {
  const Product product{&w, y};
  products_.run({.x = x}, {&product, 1}, [](int, RowRange) {});
}

std::unique_ptr<Buffer> CpuBackend::repack(WeightView& weight, const RowMaker* rows) {
  const auto encode = table_.panels.encode[index_of(weight.type)];
  if (!encode || weight.in_panels) return nullptr;
  const std::size_t panel_bytes = kernels::panel_traits(weight.type).panel_bytes(weight.cols);
  const std::size_t row_bytes = traits(weight.type).row_bytes(size_of(weight.cols));
  const int n_panels = (weight.rows + kernels::kPanelRows - 1) / kernels::kPanelRows;
  // Rows that are made together are whole panels.
  const int together = rows ? (rows->together + kernels::kPanelRows - 1) / kernels::kPanelRows : 1;
  auto memory = make_host_buffer(panel_bytes * size_of(n_panels), Pages::large);
  FirstFailure failure;
  share((n_panels + together - 1) / together, size_of(weight.rows) * size_of(weight.cols),
        [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
          const int step = together * kernels::kPanelRows;
          std::vector<std::byte> made;
          const auto make = [&](int first, int n) {
            made.resize(size_of(step) * row_bytes);
            rows->make(first, n, made.data());
          };
          for (int first = static_cast<int>(begin) * step;
               first < static_cast<int>(end) * step && first < weight.rows; first += step) {
            const int n = std::min(weight.rows - first, step);
            if (rows && !failure.keeps(first, [&] { make(first, n); })) return;
            const std::byte* from = rows ? made.data() : weight.data + size_of(first) * row_bytes;
            for (int r = 0; r < n; r += kernels::kPanelRows)
              encode(from + size_of(r) * row_bytes, row_bytes, std::min(n - r, kernels::kPanelRows),
                     weight.cols,
                     memory->data() + size_of((first + r) / kernels::kPanelRows) * panel_bytes);
          }
        });
  failure.rethrow();
  weight.data = memory->data();
  weight.in_panels = true;
  return memory;
}

void CpuBackend::rms_norm(View x, const float* weight, float eps, int group, View y) {
  share(x.rows, count(x), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t t = begin; t < end; ++t)
      for (int i = 0; i < x.cols; i += group)
        table_.rms_norm(row(x, t) + i, weight, eps, group, row(y, t) + i);
  });
}

void CpuBackend::add_bias(const float* bias, View x) {
  share(x.rows, count(x), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t t = begin; t < end; ++t) table_.add(bias, size_of(x.cols), row(x, t));
  });
}

void CpuBackend::rope(View x, int head_dim, const RopeArgs& args, int first_position) {
  if (args.n_rot == 0) return;
  rope_table_.prepare(args, first_position, x.rows);
  share(x.rows, count(x), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t t = begin; t < end; ++t)
      for (int i = 0; i < x.cols; i += head_dim)
        rope_table_.rotate(static_cast<int>(t), args.adjacent, row(x, t) + i);
  });
}

void CpuBackend::store(const float* x, std::size_t n, std::size_t place, DType type,
                       void* pool) const {
  table_.encode[index_of(type)](
      x, nullptr, static_cast<std::byte*>(pool) + place * traits(type).row_bytes(n), n);
}

void CpuBackend::kv_append(View k, View v, int n_kv_heads, int first_position,
                           const CacheView& cache) {
  const std::size_t heads = size_of(n_kv_heads), page_tokens = size_of(cache.page_tokens);
  const std::size_t head_dim = size_of(k.cols) / heads, value_dim = size_of(v.cols) / heads;
  share(k.rows, count(k) + count(v), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t t = begin; t < end; ++t) {
      const std::size_t position = size_of(first_position) + static_cast<std::size_t>(t);
      const std::size_t page = size_of(cache.pages[position / page_tokens]);
      for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t place = (page * heads + h) * page_tokens + position % page_tokens;
        store(row(k, t) + h * head_dim, head_dim, place, cache.type, cache.keys);
        store(row(v, t) + h * value_dim, value_dim, place, cache.type, cache.values);
      }
    }
  });
}

void CpuBackend::silu_multiply(View gate, View up, View y) {
  share(y.rows, count(y), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    table_.silu_multiply(row(gate, begin), row(up, begin),
                         size_of(y.cols) * static_cast<std::size_t>(end - begin), row(y, begin));
  });
}

void CpuBackend::add(View x, View y) {
  share(y.rows, count(y), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    table_.add(row(x, begin), size_of(y.cols) * static_cast<std::size_t>(end - begin),
               row(y, begin));
  });
}

/// One job for the three projections; the rest is shared only for many tokens.
void CpuBackend::qkv(const QkvStage& s) {
  if (s.query.input != s.key.input || s.query.input != s.value.input) return Backend::qkv(s);
  const Product products[] = {{&s.query, s.q}, {&s.key, s.k}, {&s.value, s.v}};
  const float* const biases[] = {s.query_bias, s.key_bias, s.value_bias};
  products_.run({.x = s.x, .norm = s.norm, .eps = s.eps, .normed = s.normed}, products,
                [&](int i, RowRange rows) {
                  const float* const bias = biases[i];
                  const View& y = products[i].y;
                  for (int t = 0; bias && t < y.rows; ++t)
                    table_.add(bias + rows.begin, size_of(rows.end - rows.begin),
                               row(y, t) + rows.begin);
                });
  if (s.query_norm) rms_norm(s.q, s.query_norm, s.eps, s.head_dim, s.q);
  if (s.key_norm) rms_norm(s.k, s.key_norm, s.eps, s.head_dim, s.k);
  rope(s.q, s.head_dim, s.rope, s.first_position);
  rope(s.k, s.head_dim, s.rope, s.first_position);
  kv_append(s.k, s.v, s.key.rows / s.head_dim, s.first_position, s.cache);
}

void CpuBackend::project(const ProjectStage& s) {
  const Product product{&s.weight, s.scratch};
  products_.run({.x = s.in}, {&product, 1}, [&](int, RowRange rows) {
    const std::size_t n = size_of(rows.end - rows.begin);
    for (int t = 0; t < s.in.rows; ++t) {
      float* const result = row(s.scratch, t) + rows.begin;
      if (s.bias) table_.add(s.bias + rows.begin, n, result);
      table_.add(result, n, row(s.x, t) + rows.begin);
    }
  });
}

void CpuBackend::gated_up(const GatedUpStage& s) {
  if (s.gate.input != s.up.input) return Backend::gated_up(s);
  const Product products[] = {{&s.gate, s.gate_out}, {&s.up, s.up_out}};
  products_.run_together({.x = s.x, .norm = s.norm, .eps = s.eps, .normed = s.normed}, products,
                         [&](RowRange rows) {
                           for (int t = 0; t < s.x.rows; ++t) {
                             float* const gate = row(s.gate_out, t) + rows.begin;
                             table_.silu_multiply(gate, row(s.up_out, t) + rows.begin,
                                                  size_of(rows.end - rows.begin), gate);
                           }
                         });
}

void CpuBackend::head(const HeadStage& s) {
  const Product product{&s.weight, s.logits};
  products_.run({.x = s.x, .norm = s.norm, .eps = s.eps, .normed = s.normed}, {&product, 1},
                [](int, RowRange) {});
}

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int threads, std::string_view isa) {
  return std::make_unique<CpuBackend>(threads > 0 ? threads : available_threads(),
                                      choose_cpu_kernels(isa));
}

}  // namespace lq

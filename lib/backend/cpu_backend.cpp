// The CPU backend: splits operations among threads; the arithmetic is in kernels/cpu.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "lib/backend/backend.h"
#include "lib/backend/cpu_attention.h"
#include "lib/backend/cpu_kernels.h"
#include "lib/backend/rope_table.h"
#include "lib/base/error.h"
#include "lib/base/parallel.h"

namespace lq {
namespace {

using kernels::KernelTable;

/// Operations over fewer values (matrix products: over fewer products) than this stay on the
/// calling thread: waking the others takes longer.
constexpr std::size_t kWorthSharing = 32768;

std::size_t size_of(int n) { return static_cast<std::size_t>(n); }

float* row(const View& view, std::ptrdiff_t i) { return view.data + i * view.cols; }

std::size_t count(const View& view) { return size_of(view.rows) * size_of(view.cols); }

/// Zeroed pages come from the system when they are first touched; data() is a multiple of 64.
class HostBuffer final : public Buffer {
 public:
  explicit HostBuffer(std::size_t n_bytes) : size_(n_bytes) {
    constexpr std::size_t kAlignment = 64;
    // The system would grant more than there is and end the process when it is used.
    const std::size_t installed = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) *
                                  static_cast<std::size_t>(sysconf(_SC_PAGE_SIZE));
    if (n_bytes < installed)
      memory_.reset(static_cast<std::byte*>(std::calloc(n_bytes + kAlignment, 1)));
    if (!memory_)
      fail(ErrorKind::resource, "out of memory: ", n_bytes, " bytes wanted, ", installed,
           " bytes installed");
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
    data_ = memory_.get() + (kAlignment - address % kAlignment) % kAlignment;
  }
  std::byte* data() override { return data_; }
  std::size_t size() const override { return size_; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(int threads, const KernelTable& table)
      : threads_(threads), table_(table), attention_(threads, table) {}

  std::string_view name() const override { return "cpu"; }
  std::string_view instruction_set() const override { return table_.name; }
  std::unique_ptr<Buffer> allocate(std::size_t n_bytes) override {
    return std::make_unique<HostBuffer>(n_bytes);
  }
  bool reads_host_memory() const override { return true; }
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

 private:
  /// Calls body(begin, end) on parts of [0, n) on the threads; alone when `values` are few.
  template <class Body>
  void share(int n, std::size_t values, const Body& body) const {
    parallel_ranges(n, 1, values < kWorthSharing ? 1 : threads_, body);
  }
  /// Calls body(begin, end) on parts of n_rows rows of matrices that are multiplied by x.
  template <class Body>
  void share_rows(int n_rows, View x, const Body& body) const;
  /// Rows [begin, end) of y = W x.
  void matmul_rows(const WeightView& w, View x, View y, int begin, int end) const;

  /// Writes the n values of a head at one position of a cache.
  void store(const float* x, std::size_t n, std::size_t place, DType type, void* pool) const;

  int threads_;
  const KernelTable& table_;
  CpuAttention attention_;
  RopeTable rope_table_;
};

void CpuBackend::embed(const WeightView& table, std::span<const std::int32_t> tokens, View y) {
  const DTypeTraits& type = traits(table.type);
  const std::size_t row_bytes = type.row_bytes(size_of(table.cols));
  share(y.rows, count(y), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    for (std::ptrdiff_t t = begin; t < end; ++t)
      type.decode(table.data + size_of(tokens[static_cast<std::size_t>(t)]) * row_bytes, row(y, t),
                  size_of(table.cols));
  });
}

template <class Body>
void CpuBackend::share_rows(int n_rows, View x, const Body& body) const {
  constexpr int kGrain = 16;  // rows that kernels take at a time
  if (threads_ == 1 || size_of(n_rows) * count(x) < kWorthSharing) return body(0, n_rows);
  if (x.rows == 1) {
    return parallel_ranges(n_rows, kGrain, threads_, [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
      body(static_cast<int>(begin), static_cast<int>(end));
    });
  }
  // Parts small enough that a thread that is held up does not hold up the others for long.
  constexpr int kPartsPerThread = 4, kSmallest = 64;
  int part =
      std::max(n_rows / (threads_ * kPartsPerThread), std::min(kSmallest, n_rows / threads_));
  part = std::max(kGrain, part / kGrain * kGrain);
  parallel_for((n_rows + part - 1) / part, threads_, [&](std::ptrdiff_t i) {
    const int begin = static_cast<int>(i) * part;
    body(begin, std::min(begin + part, n_rows));
  });
}

void CpuBackend::matmul_rows(const WeightView& w, View x, View y, int begin, int end) const {
  table_.matmul[static_cast<int>(w.type)]({
      .w = w.data,
      .row_bytes = traits(w.type).row_bytes(size_of(w.cols)),
      .cols = w.cols,
      .row_begin = begin,
      .row_end = end,
      .x = x.data,
      .x_stride = size_of(x.cols),
      .y = y.data,
      .y_stride = size_of(y.cols),
      .n_tokens = x.rows,
  });
}

void CpuBackend::matmul(const WeightView& w, View x, View y) {
  share_rows(w.rows, x, [&](int begin, int end) { matmul_rows(w, x, y, begin, end); });
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

/// One pass over the threads for the three projections; the rest is shared only for many tokens.
void CpuBackend::qkv(const QkvStage& s) {
  rms_norm(s.x, s.norm, s.eps, s.x.cols, s.normed);
  struct Part {
    const WeightView& w;
    const float* bias;
    const View& y;
  };
  const Part parts[] = {
      {s.query, s.query_bias, s.q}, {s.key, s.key_bias, s.k}, {s.value, s.value_bias, s.v}};
  share_rows(s.query.rows + s.key.rows + s.value.rows, s.normed, [&](int begin, int end) {
    int first = 0;  // of the part's rows, among all
    for (const Part& part : parts) {
      const int from = std::max(begin - first, 0), to = std::min(end - first, part.w.rows);
      if (from < to) {
        matmul_rows(part.w, s.normed, part.y, from, to);
        if (part.bias)
          for (int t = 0; t < part.y.rows; ++t)
            table_.add(part.bias + from, size_of(to - from), row(part.y, t) + from);
      }
      first += part.w.rows;
    }
  });
  if (s.query_norm) rms_norm(s.q, s.query_norm, s.eps, s.head_dim, s.q);
  if (s.key_norm) rms_norm(s.k, s.key_norm, s.eps, s.head_dim, s.k);
  rope(s.q, s.head_dim, s.rope, s.first_position);
  rope(s.k, s.head_dim, s.rope, s.first_position);
  kv_append(s.k, s.v, s.key.rows / s.head_dim, s.first_position, s.cache);
}

void CpuBackend::project(const ProjectStage& s) {
  share_rows(s.weight.rows, s.in, [&](int begin, int end) {
    matmul_rows(s.weight, s.in, s.scratch, begin, end);
    const std::size_t n = size_of(end - begin);
    for (int t = 0; t < s.in.rows; ++t) {
      if (s.bias) table_.add(s.bias + begin, n, row(s.scratch, t) + begin);
      table_.add(row(s.scratch, t) + begin, n, row(s.x, t) + begin);
    }
  });
}

void CpuBackend::gated_up(const GatedUpStage& s) {
  rms_norm(s.x, s.norm, s.eps, s.x.cols, s.normed);
  share_rows(s.gate.rows, s.normed, [&](int begin, int end) {
    matmul_rows(s.gate, s.normed, s.gate_out, begin, end);
    matmul_rows(s.up, s.normed, s.up_out, begin, end);
    for (int t = 0; t < s.x.rows; ++t)
      table_.silu_multiply(row(s.gate_out, t) + begin, row(s.up_out, t) + begin,
                           size_of(end - begin), row(s.gate_out, t) + begin);
  });
}

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int threads, std::string_view isa) {
  return std::make_unique<CpuBackend>(threads > 0 ? threads : available_threads(),
                                      choose_cpu_kernels(isa));
}

}  // namespace lq

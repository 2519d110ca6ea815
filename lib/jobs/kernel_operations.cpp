#include "lib/jobs/kernel_operations.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/random.h"

namespace lq {
namespace {

using kernels::KernelTable;
using Operands = KernelOperands;
using Results = KernelResults;

constexpr int kManyTokens = Operands::kMostTokens;
constexpr int kDistinctRows = 64;  // encoded; a longer matrix repeats them

void encode_rows(const KernelTable& table, const Operands& in, const float* importance,
                 std::vector<std::byte>& out) {
  for (std::size_t r = 0; r < in.n_rows(); ++r)
    table.encode[index_of(in.type)](in.values.data() + r * in.n_cols(), importance,
                                    out.data() + r * in.row_bytes, in.n_cols());
}

void multiply(const KernelTable& table, const Operands& in, std::vector<float>& out) {
  table.matmul[index_of(in.type)]({.w = in.stored.data(),
                                   .row_bytes = in.row_bytes,
                                   .cols = in.shape.cols,
                                   .row_begin = 0,
                                   .row_end = in.shape.rows,
                                   .x = in.importance.data(),
                                   .x_stride = in.n_cols(),
                                   .y = out.data(),
                                   .y_stride = in.n_rows(),
                                   .n_tokens = 1});
}

/// Against binary64, within what binary32 sums of this length may be off.
bool products_hold(const Operands& in, const std::vector<float>& products) {
  for (std::size_t r = 0; r < in.n_rows(); ++r) {
    double sum = 0, size = 0;
    for (std::size_t i = 0; i < in.n_cols(); ++i) {
      const double product = static_cast<double>(in.decoded[r * in.n_cols() + i]) *
                             static_cast<double>(in.importance[i]);
      sum += product;
      size += std::fabs(product);
    }
    if (!(std::fabs(static_cast<double>(products[r]) - sum) <= 1e-5 * size)) return false;
  }
  return true;
}

/// Panels of the stored rows into out.panels.
void repack(const KernelTable& table, const Operands& in, Results& out) {
  const std::size_t panel = kernels::panel_traits(in.type).panel_bytes(in.shape.cols);
  out.panels.assign(static_cast<std::size_t>(in.n_panels()) * panel, std::byte{});
  for (int p = 0; p < in.n_panels(); ++p) {
    const int row = p * kernels::kPanelRows;
    table.panels.encode[index_of(in.type)](
        in.stored.data() + static_cast<std::size_t>(row) * in.row_bytes, in.row_bytes,
        std::min(kernels::kPanelRows, in.shape.rows - row), in.shape.cols,
        out.panels.data() + static_cast<std::size_t>(p) * panel);
  }
}

/// The first n_tokens tokens as activations.
void round_tokens(const KernelTable& table, const Operands& in, int n_tokens, Results& out) {
  const kernels::PanelProducts& way = table.panels.products(in.type, n_tokens);
  if (!way.multiply[index_of(in.type)]) return;
  const int width = kernels::tile_width(n_tokens, way.widest_tile);
  const std::size_t bytes = way.activation_bytes(in.shape.cols);
  out.tiles.assign(static_cast<std::size_t>(n_tokens) * bytes, std::byte{});
  for (int t = 0; t < n_tokens; t += width)
    way.quantize({.x = in.tokens.data() + static_cast<std::size_t>(t) * in.n_cols(),
                  .stride = in.n_cols(),
                  .cols = in.shape.cols,
                  .n_tokens = width,
                  .width = width,
                  .tile = out.tiles.data() + static_cast<std::size_t>(t) * bytes});
}

void multiply_all_panels(const KernelTable& table, const Operands& in, int n_tokens, Results& out) {
  out.exact = &table.panels.products(in.type, n_tokens) == &table.panels.few;
  multiply_panels(
      table, in, out, n_tokens,
      {.panels = out.panels.data(), .rows = in.shape.rows, .begin = 0, .end = in.n_panels()},
      out.values.data());
}

/// Products of many tokens may be off by another rounding of both operands, to bfloat16 or 8 bits.
bool rounded_products_hold(const Operands& in, int n_tokens, const Results& out) {
  for (std::size_t t = 0; t < static_cast<std::size_t>(n_tokens); ++t)
    for (std::size_t r = 0; r < in.n_rows(); ++r) {
      double sum = 0, magnitude = 0;
      for (std::size_t c = 0; c < in.n_cols(); ++c) {
        const double product = static_cast<double>(in.decoded[r * in.n_cols() + c]) *
                               static_cast<double>(in.tokens[t * in.n_cols() + c]);
        sum += product;
        magnitude += std::fabs(product);
      }
      const double y = static_cast<double>(out.values[t * in.n_rows() + r]);
      if (!(std::fabs(y - sum) <= 0x1.02p-7 * magnitude)) return false;
    }
  return true;
}

/// Products with panels have the bits of the plain ones.
bool panel_products_hold(const Operands& in, int n_tokens, const Results& out) {
  const KernelTable& plain = *kernels::kernel_table("generic");
  Results wanted(in);
  repack(plain, in, wanted);
  if (wanted.panels != out.panels) return false;
  if (!out.exact) return rounded_products_hold(in, n_tokens, out);
  round_tokens(plain, in, n_tokens, wanted);
  multiply_all_panels(plain, in, n_tokens, wanted);
  return std::memcmp(wanted.values.data(), out.values.data(),
                     static_cast<std::size_t>(n_tokens) * in.n_rows() * sizeof(float)) == 0;
}

template <int n_tokens>
const void* panel_product(const KernelTable& table, DType type) {
  const kernels::PanelProducts& way = table.panels.products(type, n_tokens);
  const auto multiply_codes = way.multiply[index_of(type)];
  return multiply_codes ? reinterpret_cast<const void*>(multiply_codes)
                        : reinterpret_cast<const void*>(way.multiply_floats[index_of(type)]);
}

/// Of n_tokens tokens with panels.
template <int n_tokens>
constexpr KernelOperation panel_operation(const char* name, bool from_memory = false) {
  return {
      name,
      [](const KernelTable& t, const Operands& in, Results& out) {
        multiply_all_panels(t, in, n_tokens, out);
      },
      [](const Operands& in, const Results& out) { return panel_products_hold(in, n_tokens, out); },
      panel_product<n_tokens>,
      n_tokens,
      [](const KernelTable& t, const Operands& in, Results& out) {
        repack(t, in, out);
        round_tokens(t, in, n_tokens, out);
      },
      true,
      from_memory};
}

constexpr KernelOperation kOperations[] = {
    {"encode",
     [](const KernelTable& t, const Operands& in, Results& out) {
       encode_rows(t, in, nullptr, out.stored);
     },
     [](const Operands& in, const Results& out) { return out.stored == in.stored; },
     [](const KernelTable& t, DType type) {
       return reinterpret_cast<const void*>(t.encode[index_of(type)]);
     }},
    {"encode-importance",
     [](const KernelTable& t, const Operands& in, Results& out) {
       encode_rows(t, in, in.importance.data(), out.stored);
     },
     [](const Operands& in, const Results& out) { return out.stored == in.stored_by_importance; },
     [](const KernelTable& t, DType type) {
       return reinterpret_cast<const void*>(t.encode[index_of(type)]);
     }},
    {"decode",
     [](const KernelTable& t, const Operands& in, Results& out) {
       t.decode[index_of(in.type)](in.stored.data(), out.values.data(), in.values.size());
     },
     [](const Operands& in, const Results& out) {
       return std::memcmp(in.decoded.data(), out.values.data(),
                          in.decoded.size() * sizeof(float)) == 0;
     },
     [](const KernelTable& t, DType type) {
       return reinterpret_cast<const void*>(t.decode[index_of(type)]);
     }},
    {"matmul",
     [](const KernelTable& t, const Operands& in, Results& out) { multiply(t, in, out.values); },
     [](const Operands& in, const Results& out) { return products_hold(in, out.values); },
     [](const KernelTable& t, DType type) {
       return reinterpret_cast<const void*>(t.matmul[index_of(type)]);
     },
     1},
    {"repack", repack,
     [](const Operands& in, const Results& out) {
       Results wanted(in);
       repack(*kernels::kernel_table("generic"), in, wanted);
       return wanted.panels == out.panels;
     },
     [](const KernelTable& t, DType type) {
       return reinterpret_cast<const void*>(t.panels.encode[index_of(type)]);
     }},
    panel_operation<1>("panels-1"),
    panel_operation<kManyTokens>("panels-32"),
    panel_operation<1>("stream-1", true)};

}  // namespace

KernelOperands::KernelOperands(DType dtype, KernelShape s)
    : type(dtype),
      shape(s),
      row_bytes(traits(dtype).row_bytes(n_cols())),
      values(n_rows() * n_cols()),
      importance(n_cols()),
      tokens(kMostTokens * n_cols()),
      stored(n_rows() * row_bytes),
      stored_by_importance(stored.size()),
      decoded(values.size()) {
  Random random(1);
  const auto normal = [&] {  // nearly: the sum of four
    return static_cast<float>(random.uniform() + random.uniform() + random.uniform() +
                              random.uniform() - 2);
  };
  const std::size_t distinct = std::min<std::size_t>(n_rows(), kDistinctRows);
  for (std::size_t i = 0; i < distinct * n_cols(); ++i) values[i] = 0.03f * normal();
  for (float& value : importance) value = normal() * normal() + 0.01f;
  for (float& value : importance) value = std::fabs(value);
  for (float& value : tokens) value = 0.03f * normal();
  const DTypeTraits& t = traits(type);
  for (std::size_t r = 0; r < distinct; ++r) {
    const float* row = values.data() + r * n_cols();
    t.encode(row, nullptr, stored.data() + r * row_bytes, n_cols());
    t.encode(row, importance.data(), stored_by_importance.data() + r * row_bytes, n_cols());
  }
  const auto repeat = [&](auto& rows, std::size_t row_size) {
    for (std::size_t i = distinct * row_size; i < rows.size(); ++i)
      rows[i] = rows[i - distinct * row_size];
  };
  repeat(values, n_cols());
  repeat(stored, row_bytes);
  repeat(stored_by_importance, row_bytes);
  t.decode(stored.data(), decoded.data(), decoded.size());
}

KernelResults::KernelResults(const Operands& in)
    : stored(in.stored.size()),
      values(std::max(in.values.size(), Operands::kMostTokens * in.n_rows())) {}

std::span<const KernelOperation> all_kernel_operations() { return kOperations; }

void multiply_panels(const KernelTable& table, const Operands& in, const Results& prepared,
                     int n_tokens, const PanelRange& range, float* y) {
  const kernels::PanelProducts& way = table.panels.products(in.type, n_tokens);
  if (way.multiply_floats[index_of(in.type)])
    return way.multiply_floats[index_of(in.type)](
        {.panels = range.panels,
         .rows = range.rows,
         .cols = in.shape.cols,
         .panel_begin = range.begin,
         .panel_end = range.end,
         .x = in.tokens.data(),
         .x_stride = in.n_cols(),
         .n_tokens = n_tokens,
         .y = y,
         .y_stride = static_cast<std::size_t>(range.rows)});
  way.multiply[index_of(in.type)]({.panels = range.panels,
                                   .rows = range.rows,
                                   .cols = in.shape.cols,
                                   .panel_begin = range.begin,
                                   .panel_end = range.end,
                                   .x = prepared.tiles.data(),
                                   .n_tokens = n_tokens,
                                   .y = y,
                                   .y_stride = static_cast<std::size_t>(range.rows)});
}

void refuse(const KernelOperation& operation, const KernelTable& table, DType type) {
  fail(ErrorKind::failure, "kernel ", operation.name, " of ", traits(type).name, " in the set ",
       table.name, " disagrees with the type's definition; it is not timed");
}

std::int64_t thread_time_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int rounds_of_sample(std::int64_t once_ns) {
  constexpr std::int64_t kSampleNs = 20'000'000;
  return static_cast<int>(
      std::clamp<std::int64_t>(kSampleNs / std::max<std::int64_t>(once_ns, 1000), 1, 10000));
}

}  // namespace lq

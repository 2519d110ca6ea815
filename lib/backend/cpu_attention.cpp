#include "lib/backend/cpu_attention.h"

#include <algorithm>
#include <cmath>

namespace lq {
namespace {

/// Positions of a part where there are too few queries to keep all threads busy. A constant, like
/// all that decides how work is split: results are the same for any number of threads.
constexpr int kPartPositions = 512;
/// Work (values of queries times positions) of less than this stays on the calling thread.
constexpr std::size_t kLeastSharedWork = 32768;

std::size_t length(int n) { return static_cast<std::size_t>(n); }

}  // namespace

/// A call's tasks: for each part of the positions and each tile of tokens, one for each key-value
/// head. With blocks of bytes, one for each head and part before, which makes its blocks.
struct CpuAttention::Split {
  int group, tile, n_tiles, n_parts, n_heads;
  const kernels::ByteAttention* bytes = nullptr;  ///< where keys and values become bytes
  std::size_t block_bytes = 0;
  int n_blocks = 0, n_block_parts = 0;

  Split(const AttentionStage& s, const kernels::ByteAttention& way)
      : group(s.n_heads / s.n_kv_heads), n_parts(1), n_heads(s.n_kv_heads) {
    const int positions = s.first_position + s.q.rows;
    if (s.rounding == AttentionRounding::bytes && way.prepare[index_of(s.cache.type)] &&
        s.q.rows * group >= kernels::ByteAttention::kLeastRows)
      block_bytes = way.block_bytes(s.head_dim, s.value_dim);
    if (block_bytes > 0) {
      bytes = &way;
      n_blocks = (positions + way.positions - 1) / way.positions;
      n_block_parts = (positions + kPartPositions - 1) / kPartPositions;
    }
    tile = std::max(1, (bytes ? way.tile_rows : kernels::kAttentionRows) / group);
    n_tiles = (s.q.rows + tile - 1) / tile;
    if (n_tiles == 1) n_parts = (positions + kPartPositions - 1) / kPartPositions;
  }
  int n_tasks() const { return n_tiles * n_parts * n_heads; }
  std::size_t head_bytes() const { return length(n_blocks) * block_bytes; }
};

void CpuAttention::run(const AttentionStage& s) {
  const Split split(s, table_.byte_attention);
  const std::size_t rows = length(s.q.rows) * length(s.n_heads);
  const std::size_t a_worker = split.bytes ? split.bytes->scratch(s.head_dim, s.value_dim)
                                           : kernels::attention_scratch(s.head_dim, s.value_dim);
  const std::size_t work =
      length(s.q.rows) * length(s.q.cols) * length(s.first_position + s.q.rows);
  const bool alone = work < kLeastSharedWork;
  const auto grow = [](auto& memory, std::size_t n) {
    if (memory.size() < n) memory.resize(n);
  };
  grow(scratch_, length(pool_.threads()) * a_worker);
  grow(blocks_, length(split.n_heads) * split.head_bytes());
  if (split.n_parts > 1) {
    grow(mixed_, length(split.n_parts) * rows * length(s.value_dim));
    grow(peaks_, length(split.n_parts) * rows);
    grow(totals_, length(split.n_parts) * rows);
  }
  const auto run_tasks = [&](int n, const auto& task) {
    if (!alone) return pool_.run(n, task);
    for (int i = 0; i < n; ++i) task(i, 0);
  };
  run_tasks(split.n_heads * split.n_block_parts,
            [&](int task, int) { prepare(s, split, task % split.n_heads, task / split.n_heads); });
  run_tasks(split.n_tasks(), [&](int task, int worker) {
    attend(s, split, task, scratch_.data() + length(worker) * a_worker);
  });
  if (split.n_parts == 1) return;
  const int head_rows = static_cast<int>(rows) / split.n_heads;
  run_tasks(split.n_heads, [&](int head, int) {
    for (int row = head * head_rows; row < (head + 1) * head_rows; ++row) merge(s, split, row);
  });
}

/// All tokens and positions of a key-value head.
kernels::AttentionArgs CpuAttention::head_args(const AttentionStage& s, int head) {
  const int group = s.n_heads / s.n_kv_heads, positions = s.first_position + s.q.rows;
  const std::size_t key_row = traits(s.cache.type).row_bytes(length(s.head_dim));
  const std::size_t value_row = traits(s.cache.type).row_bytes(length(s.value_dim));
  const std::size_t page_head = length(s.cache.page_tokens);
  return {
      .query = s.q.data + length(head) * length(group) * length(s.head_dim),
      .query_stride = length(s.q.cols),
      .keys = static_cast<const std::byte*>(s.cache.keys) + length(head) * page_head * key_row,
      .values =
          static_cast<const std::byte*>(s.cache.values) + length(head) * page_head * value_row,
      .key_row = key_row,
      .value_row = value_row,
      .key_page = length(s.n_kv_heads) * page_head * key_row,
      .value_page = length(s.n_kv_heads) * page_head * value_row,
      .page_table = s.cache.pages.data(),
      .page_tokens = s.cache.page_tokens,
      .n_tokens = s.q.rows,
      .group = group,
      .head_dim = s.head_dim,
      .value_dim = s.value_dim,
      .first_position = s.first_position,
      .begin = 0,
      .end = positions,
      .scale = s.scale,
      .out = s.out.data + length(head) * length(group) * length(s.value_dim),
      .out_stride = length(s.out.cols),
      .peaks = nullptr,
      .totals = nullptr,
      .scratch = nullptr,
      .exact = s.rounding == AttentionRounding::none,
  };
}

void CpuAttention::prepare(const AttentionStage& s, const Split& split, int head, int part) {
  const int blocks = kPartPositions / split.bytes->positions;
  const int end = std::min(split.n_blocks, (part + 1) * blocks);
  for (int block = part * blocks; block < end; ++block)
    split.bytes->prepare[index_of(s.cache.type)](
        head_args(s, head), block,
        blocks_.data() + length(head) * split.head_bytes() + length(block) * split.block_bytes);
}

void CpuAttention::attend(const AttentionStage& s, const Split& split, int task, float* scratch) {
  // Late tokens see the most: they go first. Heads follow one another.
  const int head = task % split.n_heads;
  const int part = task / split.n_heads % split.n_parts;
  const int token = (split.n_tiles - 1 - task / split.n_heads / split.n_parts) * split.tile;
  kernels::AttentionArgs args = head_args(s, head);
  args.n_tokens = std::min(split.tile, s.q.rows - token);
  args.query += length(token) * args.query_stride;
  args.out += length(token) * args.out_stride;
  args.first_position += token;
  args.begin = part * kPartPositions;
  args.end = args.first_position + args.n_tokens;
  args.scratch = scratch;
  if (split.n_parts > 1) {  // one tile: token is 0
    const std::size_t rows = length(s.q.rows) * length(split.group);
    const std::size_t at = (length(part) * length(split.n_heads) + length(head)) * rows;
    args.end = std::min(args.end, (part + 1) * kPartPositions);
    args.out = mixed_.data() + at * length(s.value_dim);
    args.out_stride = length(split.group) * length(s.value_dim);
    args.peaks = peaks_.data() + at;
    args.totals = totals_.data() + at;
  }
  if (split.bytes)
    split.bytes->attend(args, blocks_.data() + length(head) * split.head_bytes());
  else
    table_.attention[index_of(s.cache.type)](args);
}

/// Row `row` of [n_kv_heads][tokens * group]: the parts in their order.
void CpuAttention::merge(const AttentionStage& s, const Split& split, int row) const {
  const int rows = s.q.rows * split.group;
  const int head = row / rows, token = row % rows / split.group, within = row % split.group;
  float* const out = s.out.data + length(token) * length(s.out.cols) +
                     length(head * split.group + within) * length(s.value_dim);
  const std::size_t stride = length(rows) * length(split.n_heads);
  float peak = peaks_[length(row)];
  for (int part = 1; part < split.n_parts; ++part)
    peak = std::max(peak, peaks_[length(part) * stride + length(row)]);
  float total = 0;
  std::fill_n(out, s.value_dim, 0.0f);
  for (int part = 0; part < split.n_parts; ++part) {
    const std::size_t at = length(part) * stride + length(row);
    const float weight = std::exp2(peaks_[at] - peak);
    const float* const mixed = mixed_.data() + at * length(s.value_dim);
    total += weight * totals_[at];
    for (int i = 0; i < s.value_dim; ++i) out[i] += weight * mixed[i];
  }
  const float inverse = 1 / total;
  for (int i = 0; i < s.value_dim; ++i) out[i] *= inverse;
}

}  // namespace lq

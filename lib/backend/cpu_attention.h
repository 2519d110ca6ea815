#pragma once
// Attention on the CPU: how it is split among threads and put together again.
#include <vector>

#include "kernels/cpu/kernel_table.h"
#include "lib/backend/backend.h"
#include "lib/base/thread_pool.h"

namespace lq {

/// Owns the scratch memory of all threads, which grows to what the largest call needs.
class CpuAttention {
 public:
  CpuAttention(ThreadPool& pool, const kernels::KernelTable& table) : pool_(pool), table_(table) {}

  /// The bits of the result do not depend on the number of threads.
  void run(const AttentionStage& stage);

 private:
  struct Split;
  static kernels::AttentionArgs head_args(const AttentionStage& stage, int head);
  void prepare(const AttentionStage& stage, const Split& split, int head, int part);
  void attend(const AttentionStage& stage, const Split& split, int task, float* scratch);
  void merge(const AttentionStage& stage, const Split& split, int row) const;

  ThreadPool& pool_;
  const kernels::KernelTable& table_;
  std::vector<float> scratch_;         ///< [workers][attention_scratch()]
  std::vector<std::byte> blocks_;      ///< [n_kv_heads][blocks]: keys and values as bytes
  std::vector<float> mixed_;           ///< [parts][tokens][n_heads * value_dim]
  std::vector<float> peaks_, totals_;  ///< [parts][n_kv_heads][tokens * group]
};

}  // namespace lq

#pragma once
// Speed of prompt processing and generation.
#include <filesystem>
#include <functional>
#include <vector>

#include "kernels/blocks/dtype.h"
#include "lib/base/monitor.h"
#include "lib/jobs/bench_report.h"

namespace lq {

struct BenchOptions {
  std::vector<std::filesystem::path> models;
  std::vector<int> n_prompt = {512};    ///< 0: no such case
  std::vector<int> n_generate = {128};  ///< 0: no such case
  std::vector<int> depth = {0};         ///< tokens that are in the cache before
  std::vector<int> threads;
  int repetitions = 5;
  DType kv_type = DType::F16;  ///< of the cache
  bool exact = false;          ///< weights as stored, products in binary32
  bool hash = true;            ///< SHA-256 of the model files
};

/// Runs every case once without counting it, then `repetitions` times; calls `on_case` after each.
/// Prompts are random tokens; generation starts after one token more than `depth` and takes the
/// likeliest token each time, so its figures include that choice. Throws Error; cases finished by
/// then were handed out.
BenchReport bench_speed(const BenchOptions& options,
                        const std::function<void(const BenchCase&)>& on_case, Monitor& monitor);

}  // namespace lq

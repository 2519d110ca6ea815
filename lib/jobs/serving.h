#pragma once
// Whether an engine would load a checkpoint, known before it is written: serving_rules.def.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/jobs/checkpoint.h"
#include "lib/jobs/weight_scheme.h"

namespace lq {

/// A row of serving_rules.def.
struct Engine {
  std::string name;
  const char* version;
  bool parallel, fuses;
};
std::span<const Engine> engines();

struct ServeTarget {
  const Engine* engine;
  int n_gpus = 1;  ///< tensor parallelism
};

/// "vllm", "vllm:tp=4". Throws Error(usage).
ServeTarget parse_serve_target(const std::string& text);

/// What a check has to know of a model.
struct ServedModel {
  struct Module {
    std::string name;
    std::uint64_t rows, cols;
    bool quantized;
  };
  std::vector<Module> modules;                ///< those that can be quantized
  std::uint64_t n_heads = 0, n_kv_heads = 0;  ///< 0: not known
};
ServedModel served_model(const CheckpointPlan& plan);

/// Why the engine does not load the model stored so, a line a reason; empty when it does.
std::vector<std::string> serving_problems(const ServeTarget& target, const WeightScheme& scheme,
                                          const ServedModel& model);

/// The options that change least and have no problems, such as "W4A16 --format gptq --group-size
/// 64"; empty when there are none.
std::string nearest_served(const ServeTarget& target, const WeightScheme& scheme,
                           const ServedModel& model);

/// Throws Error(unsupported) with the problems and the nearest options that work.
void check_serving(const ServeTarget& target, const CheckpointPlan& plan);

}  // namespace lq
